"""Regions of a LiDAR sweep: ground and clusters."""
