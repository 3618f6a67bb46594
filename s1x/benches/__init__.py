"""Benchmarks of s1x itself, as stages (`stage=bench`, `bench_sweep`, `bench_engine`, `bench_peers`)."""
