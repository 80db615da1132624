"""Benchmark: speed and memory, beside the plain host and beside other packages.

`run_part` measures a part of `PARTS`, `GOALS` is what is aimed at.
"""
