"""Programs for a machine with a GPU (`probe.py`: speed, `quality.py`: precision), and `standin/`, an imitation."""
