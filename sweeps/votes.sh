#!/bin/sh
# Votes of chains, each with a budget. 9 cells in one process (sweeps/README.md).
exec python run.py -m name=votes method=majority_voting sampling.temperature=1 method.n=4,16,64 \
    method.inner.max_thinking_tokens=128,256,1024 "$@"
