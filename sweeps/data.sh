#!/bin/sh
# Which examples to train on. 12 cells in one process (sweeps/README.md).
exec python run.py -m name=data 'stage=[train,evaluate]' model=tiny_base train=tiny \
    data=tiny_s1k,tiny_random_1k,tiny_diverse_1k,tiny_longest_1k train.seed=0,1,2 "$@"
