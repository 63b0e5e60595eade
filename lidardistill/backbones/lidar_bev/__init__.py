"""LiDAR backbones whose output is a bird's-eye-view map."""
