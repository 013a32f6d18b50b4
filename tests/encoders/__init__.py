"""Tests of what is learned once for a generator."""
