#!/bin/sh
# Stop when forced answers agree. 6 cells in one process (sweeps/README.md).
exec python run.py -m name=stopping method=early_exit method.every=32,64,128 method.agree=2,3 "$@"
