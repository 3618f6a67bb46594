#!/bin/sh
# Accuracy against a budget of thinking. 6 cells in one process (sweeps/README.md).
exec python run.py -m name=budgets method=budget_forcing method.max_thinking_tokens=32,64,128,256,512,1024 "$@"
