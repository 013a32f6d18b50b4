"""Embeds images: the plan of a run from SOURCE, its worker, its rows, and its updates.

Comes in: SOURCE, networks, settings. Goes out: rows of the latent table through `run`. It never imports edits or the
command line.
"""
