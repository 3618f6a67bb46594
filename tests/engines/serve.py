"""A real `vllm serve` on loopback, for tests marked `vllm`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 400


@contextmanager
def serving(model: str, folder: Path, *arguments: str) -> Iterator[str]:
    """Its address (the CPU build lacks what the `vllm` command asks for, so its module is run). Its log is in `folder`."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    log = folder / "log.txt"
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--host", "127.0.0.1",
        "--port", str(port), "--dtype", "float32", "--enforce-eager", "--max-num-seqs", "64", "--block-size", "32",
        "--kv-cache-memory-bytes", str(2**29), "--scheduling-policy", "priority", "--enable-prompt-tokens-details",
        "--disable-uvicorn-access-log", *arguments,
    ]  # fmt: skip
    with log.open("w") as output:
        variables = os.environ | {"VLLM_NO_USAGE_STATS": "1"}
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=variables)
    try:
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + START_S
        while not healthy(url):
            assert server.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(60)


def healthy(url: str) -> bool:
    try:
        return urllib.request.urlopen(f"{url}/health", timeout=2).status == 200
    except OSError:
        return False
