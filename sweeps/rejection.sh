#!/bin/sh
# Sample until the thinking happens to fit. 5 cells in one process (sweeps/README.md).
exec python run.py -m name=rejection method=rejection_sampling method.max_tries=32 sampling.temperature=1 \
    task.limit=100 method.limit=192,256,384,512,1024 "$@"
