"""Frozen image networks."""
