"""Sparse convolution."""
