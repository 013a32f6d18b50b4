"""Knows published weights by name: what there is, under which licence, and where its file is.

Comes in: a name such as `ffhq1024`. Goes out: the path of its file on this machine, fetched once. It imports neither
torch nor what reads a file: whoever asks passes a function that does.
"""
