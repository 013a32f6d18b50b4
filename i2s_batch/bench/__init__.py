"""Measurements of the engine alone, beside what the machine can do."""
