"""Carries out a run over one output, whatever it does with its units: driver, pools of workers, progress, status.

Comes in: a plan, and a workload that defines what workers do with a unit. Goes out: a finished table. It never imports
what is done with a unit (`embedding`, `editing`, `studies`), and only `run.ray` imports Ray.
"""
