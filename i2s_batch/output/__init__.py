"""All that lies under OUT: keys, run.json, the plan, the lease, the work log, published shards and their checksums.

Comes in: rows, states and settings as values or bytes. Goes out: durable files, and what they hold. It never imports
networks, images or what a run computes.
"""
