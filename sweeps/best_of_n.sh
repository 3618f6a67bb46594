#!/bin/sh
# The best of n chains by a reward model, or their weighted vote. 6 cells in one process (sweeps/README.md).
exec python run.py -m name=best_of_n method=best_of_n scorer=tiny_prm sampling.temperature=1 task.limit=100 \
    method.vote=best,weighted method.n=4,16,64 "$@"
