"""Image files and pixel arrays: decoding, resizing, alterations, drawing.

Comes in: bytes of image files, uint8 arrays [H, W, 3]. Goes out: uint8 arrays [H, W, 3], bytes of image files and
animations. It never imports where images come from (`sources`, `storage`) or what is done with them.
"""
