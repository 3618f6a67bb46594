"""How fast is the stream store? Appends per second, scan speed at startup, microseconds per load, and what upkeep takes.

    python experiments/bench_store/bench_store.py                 # 100,000,000 tokens, about 0.7 GB in a temporary directory
    python experiments/bench_store/bench_store.py --frames 20000  # 2,000,000

One process writes `--streams` streams in rounds, as a scheduler does: tokens come one by one for each stream, a flush after
every `--tokens` of them, so each flush writes one frame per stream. Then a fresh Store opens the directory and loads streams
in random order. The files are in the page cache: this measures the code, not the disk.
"""

import argparse
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from s1x.streams import upkeep
from s1x.streams.store import Store
from s1x.streams.types import digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--streams", type=int, default=50_000)
    parser.add_argument("--tokens", type=int, default=100, help="tokens in a frame")
    args = parser.parse_args()
    streams = min(args.streams, args.frames)
    keys = [digest("bench", i) for i in range(streams)]
    ids, logprobs = list(range(1000, 1000 + args.tokens)), [-0.5] * args.tokens

    with tempfile.TemporaryDirectory() as name:
        with Store(Path(name), "bench") as store:
            start = time.perf_counter()
            for key in keys[:100]:
                for i, logprob in zip(ids, logprobs, strict=True):
                    store.append(key, [i], [logprob])
            seconds = time.perf_counter() - start
            print(f"append, a token at a time: {100 * args.tokens / seconds:,.0f} appends/s")
        with Store(Path(name), "bench") as store:
            start = time.perf_counter()
            for i in range(args.frames):
                store.append(keys[i % streams], ids, logprobs)
            store.flush()
            seconds, size = time.perf_counter() - start, store.bytes_written
            print(
                f"append, {args.tokens} tokens at a time, flushed: {args.frames / seconds:,.0f} appends/s, "
                f"{size / seconds / 1e6:,.0f} MB/s, {size / 1e6:,.0f} MB"
            )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        store = Store(Path(name), "bench")
        seconds = time.perf_counter() - start
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (1024 if sys.platform == "linux" else 1024**2)
        print(f"scan: {size / seconds / 1e6:,.0f} MB/s, {args.frames / seconds:,.0f} frames/s, {seconds:.2f} s")
        print(f"peak memory grew by {grown:,.0f} MiB during the scan (pages of the mapped file included)")
        chosen = random.Random(0).sample(keys, min(2000, streams))
        start = time.perf_counter()
        tokens = sum(len(store.load(key).ids) for key in chosen)
        seconds = time.perf_counter() - start
        print(f"load: {1e6 * seconds / len(chosen):,.0f} us for a stream of {tokens / len(chosen):,.0f} tokens")
        store.close()
        for what, check in (("statistics", False), ("verify", True)):
            start = time.perf_counter()
            (found,) = upkeep.contents(Path(name), check=check)
            print(f"{what}: {found.tokens:,} tokens of {found.streams:,} streams, {time.perf_counter() - start:.1f} s")
        start = time.perf_counter()
        old, new = upkeep.compact(found.folder)
        print(f"compact: {old / 1e6:,.0f} MB became {new / 1e6:,.0f} MB, {time.perf_counter() - start:.1f} s")
        start = time.perf_counter()
        store = Store(Path(name), "bench")
        print(f"scan of what is left: {time.perf_counter() - start:.2f} s")
        start = time.perf_counter()
        tokens = sum(len(store.load(key).ids) for key in chosen)
        seconds = time.perf_counter() - start
        print(f"load: {1e6 * seconds / len(chosen):,.0f} us for a stream of {tokens / len(chosen):,.0f} tokens")


if __name__ == "__main__":
    main()
