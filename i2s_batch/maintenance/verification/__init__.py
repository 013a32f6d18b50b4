"""Checks of a run's table: the plan, each file, each row, and a sample of rows made again from their latents."""
