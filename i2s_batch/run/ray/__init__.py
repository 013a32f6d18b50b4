"""Runs workers on a Ray cluster: the only package that imports Ray.

Comes in: a `WorkerSpec` and tasks. Goes out: the events of a `Pool`. It decides nothing: actors are never restarted and
calls never retried by Ray itself. It never imports what a worker does.
"""
