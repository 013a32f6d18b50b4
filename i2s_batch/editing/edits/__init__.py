"""One file an edit: its request, its latent by the paper's formulas, and its options of the command line.

In come images that were chosen, or rows of an edit list; out go sequences of recipes, and the latent of one recipe.
`registered.py` lists the edits. Never imports what reads or writes files, Click or Ray.
"""
