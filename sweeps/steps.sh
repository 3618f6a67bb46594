#!/bin/sh
# A number of steps in the prompt, alone and forced. 8 cells in one process (sweeps/README.md).
exec python run.py -m name=steps model=tiny_step_conditional method=step_conditional,step_conditional_forced \
    method.steps=8,16,32,64 "$@"
