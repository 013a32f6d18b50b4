"""Runs the paper's experiments: variants of images and settings, their statistics and their page.

Comes in: SOURCE and the name of a study. Goes out: a table with a row for each variant of each image, study.md and
figures. It never imports the command line.
"""
