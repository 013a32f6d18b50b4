"""Examines a machine, or every node of a cluster, before a run: what `i2s-batch doctor` finds, and what to do about it.

Comes in: what a run is to do (`Asked`). Goes out: findings, as values. Each group of checks is one file and one line in
`registered.py`. Nothing is left behind but caches. It never carries out a run, and never imports Ray.
"""
