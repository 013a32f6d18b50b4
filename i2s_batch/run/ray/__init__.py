"""Ray as a cluster of workers: the only package that imports Ray."""
