"""Coroutines on a thread of their own: what talks to servers while its callers do other things."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any


class Looped:
    """An event loop on a thread called `name`, on which `_start` has run before the constructor returns.

    What `_start` raises the constructor raises. `_session` is what `close` closes, beside all that is under way.
    """

    _session: Any = None

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name=name, daemon=True).start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop what is under way, and the connections."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _start(self) -> None:
        raise NotImplementedError

    async def _stop(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._session is not None:
            await self._session.close()


def key_of(api_key_env: str | None) -> str | None:
    """The key that an environment variable holds; None where none is named."""
    return os.environ.get(api_key_env) if api_key_env else None
