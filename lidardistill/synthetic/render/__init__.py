"""Ray casting, cameras and LiDAR."""
