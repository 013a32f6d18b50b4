"""Holds one file an edit: its request, its latent by the paper's formulas, and its options of the command line.

Comes in: images that were chosen, or rows of an edit list. Goes out: sequences of recipes, and the latent of one
recipe. `registered.py` lists the edits. It never imports what reads or writes files, Click or Ray.
"""
