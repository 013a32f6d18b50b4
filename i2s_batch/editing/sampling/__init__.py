"""Samples: images of latents that are drawn at random, by seeds, as the generators' own programs draw them.

Comes in: a generator and seeds. Goes out: image files and a contact sheet, or a run with a latent table.
"""
