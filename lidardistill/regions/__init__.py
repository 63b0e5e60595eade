"""Regions of camera images and of sweeps, one folder each."""
