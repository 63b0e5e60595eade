"""Regions of camera images: superpixels computed, cached, or read from mask files."""

from lidardistill.regions.slic.slic import slic
from lidardistill.regions.superpixels.source import SuperpixelSource
from lidardistill.regions.superpixels.store import SuperpixelStore

__all__ = ["SuperpixelSource", "SuperpixelStore", "slic"]
