"""Hydra plugins of s1x: a sweeper for unions of grids, and a launcher that drives all jobs of a sweep together."""
