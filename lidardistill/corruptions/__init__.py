"""Corruptions of scans for robustness tests."""
