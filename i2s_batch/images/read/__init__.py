"""Decoding of untrusted image files within limits of size and memory."""
