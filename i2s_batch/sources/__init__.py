"""Turns SOURCE into images: a folder, a pattern, an S3 prefix or a list becomes ids and uris, and a uri bytes.

Comes in: SOURCE as the user gives it. Goes out: a sorted list of image ids and uris, bytes of one image file. It never
imports what lies under OUT or what is done with an image.
"""
