"""Weights in the layouts of other projects."""
