"""Reads and writes all that lies under OUT: keys, run.json, the plan, the lease, the work log, published shards.

Comes in: rows, states and settings as values or bytes. Goes out: durable files, and what they hold. It never imports
networks, images or what a run computes.
"""
