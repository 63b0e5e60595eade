"""Superpixels: sources and storage."""
