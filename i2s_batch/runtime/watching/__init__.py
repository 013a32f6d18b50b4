"""How far a run is, for those who watch it."""
