"""Draws grids, contact sheets, strips and animations for people to look at."""
