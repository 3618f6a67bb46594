#!/bin/sh
# How far an ignored end extrapolates, and whether the word matters. 10 cells in one process (sweeps/README.md).
exec python run.py -m name=waits method=budget_forcing method.ignore_end=0,1,2,4,6 method.string=Wait,Hmm "$@"
