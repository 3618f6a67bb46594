#!/bin/sh
# A number of tokens in the prompt, alone and forced. 8 cells in one process (sweeps/README.md).
exec python run.py -m name=tokens model=tiny_token_conditional method=token_conditional,token_conditional_forced \
    method.tokens=128,256,512,1024 "$@"
