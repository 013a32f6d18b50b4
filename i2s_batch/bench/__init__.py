"""Measures the engine and all around it, beside what the machine can do.

Comes in: networks, images, tables of random figures. Goes out: printed tables, and a last line of JSON. `python -m
i2s_batch.bench.NAME --help` explains each program. Nothing but the command line imports it.
"""
