"""Robustness to corrupted scans."""
