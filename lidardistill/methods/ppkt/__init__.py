"""PPKT."""
