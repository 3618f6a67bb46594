#!/bin/sh
# Tree searches with a reward model. 12 cells in one process (sweeps/README.md).
exec python run.py -m name=search scorer=tiny_prm sampling.temperature=1 task.limit=100 \
    method=beam_search,dvts,rebase,particle_filtering method.n=4,16,64 "$@"
