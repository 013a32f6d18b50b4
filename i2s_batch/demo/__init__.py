"""Drawn faces, the small generator that has learnt them, and the eight pictures of the demo."""
