"""BEVContrast."""
