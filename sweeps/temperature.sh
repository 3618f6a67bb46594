#!/bin/sh
# Does sampling hurt at every budget? 24 cells in one process (sweeps/README.md).
exec python run.py -m name=temperature method=budget_forcing sampling.temperature=0,0.6,1 \
    method.max_thinking_tokens=64,128,256,512 seed=0,1 "$@"
