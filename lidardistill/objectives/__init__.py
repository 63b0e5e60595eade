"""Losses and diagnostics, one idea per file."""

from lidardistill.objectives.contrast import info_nce
from lidardistill.objectives.diagnostics import contrast_diagnostics, is_collapsed

__all__ = ["contrast_diagnostics", "info_nce", "is_collapsed"]
