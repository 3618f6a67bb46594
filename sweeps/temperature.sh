#!/bin/sh
# A Hydra multirun grid typed by hand: does sampling hurt at every budget? 3 temperatures x 4 budgets x 2 seeds, one engine.
exec python run.py -m name=temperature sampling.temperature=0,0.6,1 method.max_thinking_tokens=64,128,256,512 seed=0,1 "$@"
