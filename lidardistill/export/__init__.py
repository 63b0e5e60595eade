"""Export of runs."""
