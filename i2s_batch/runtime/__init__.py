"""The run: plan, worker, driver, pools. This is where models, inversion and storage meet."""
