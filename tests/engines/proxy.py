"""A proxy that injects faults, to put in front of a completions server.

    with FaultyProxy("http://127.0.0.1:8000", ["429", None, "500", "hang", "cut", "garbage"]) as proxy:
        ServerEngine(model, urls=proxy.url, ...)

Each completions request takes the next fault of the list (None: none), over and over; other requests pass. `happened` counts
them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from itertools import cycle
from urllib.parse import urlsplit

FAULTS = ("429", "500", "hang", "cut", "garbage", "lost")
HANG_S = 30.0
_AFTER = 600  # bytes of an answer that pass before it is cut or spoilt: head and a few tokens


class FaultyProxy:
    def __init__(self, upstream: str, faults) -> None:
        parts = urlsplit(upstream)
        self._upstream = parts.hostname, parts.port
        self._faults = cycle(faults)
        self.happened: Counter[str | None] = Counter()

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        start = asyncio.start_server(self._connection, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request per connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = [line for line in head.decode().split("\r\n") if line]
            length = next((int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")), 0)
            body = await reader.readexactly(length)
            fault = next(self._faults) if "/completions" in lines[0] else None
            self.happened[fault] += 1
            if fault in ("429", "500"):
                writer.write(f"HTTP/1.1 {fault} Fault\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            elif fault == "hang":
                await asyncio.sleep(HANG_S)
            elif fault != "lost":
                kept = [line for line in lines if not line.lower().startswith("connection:")]
                await self._forward("\r\n".join([*kept, "Connection: close", "", ""]).encode() + body, writer, fault)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _forward(self, request: bytes, writer: asyncio.StreamWriter, fault: str | None) -> None:
        reader, upstream = await asyncio.open_connection(*self._upstream)
        try:
            upstream.write(request)
            passed = 0
            while data := await reader.read(256):
                passed += len(data)
                if fault in ("cut", "garbage") and passed > _AFTER:
                    if fault == "garbage":
                        spoilt = b'\n\ndata: {"choices": [{"token_ids": [\xff\xfe oops\n\n'
                        writer.write(f"\r\n{len(spoilt):x}\r\n".encode() + spoilt + b"\r\n")
                    return
                writer.write(data)
                await writer.drain()
        finally:
            upstream.close()
