"""LiDAR backbones, one room each."""
