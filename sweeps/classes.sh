#!/bin/sh
# Short or long thinking, asked for in words. 4 cells in one process (sweeps/README.md).
exec python run.py -m name=classes method=class_conditional method.length=short,long task=tiny_math,tiny_hard "$@"
