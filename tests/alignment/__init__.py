"""Faces aligned as FFHQ does, and put back."""
