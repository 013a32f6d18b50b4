"""Checks a run's table: the plan, each file, each row, and a sample of rows computed again from their latents.

Comes in: the OUT of a run, and the networks of the run where they are available. Goes out: a `Verification` with
findings. It writes nothing, and never imports Ray.
"""
