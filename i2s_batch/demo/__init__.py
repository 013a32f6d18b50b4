"""Holds the demo: drawn faces, the small generator that was fitted to them, and the eight images that are embedded.

Comes in: a folder. Goes out: images, tables, edits and reports in it. It never imports the command line.
"""
