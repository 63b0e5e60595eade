"""Regions of camera images: superpixels computed, cached, or read from mask files."""

from lidardistill.regions.slic import slic
from lidardistill.regions.source import SuperpixelSource
from lidardistill.regions.store import SuperpixelStore

__all__ = ["SuperpixelSource", "SuperpixelStore", "slic"]
