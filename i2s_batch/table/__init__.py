"""Reads latent tables: shards, selection by SQL, arrays, single latents, nearest latents, export, torch datasets.

Comes in: the OUT of a run. Goes out: Arrow tables, numpy arrays, files of other programs. It never writes a table, and
imports torch only inside the functions that make tensors.
"""
