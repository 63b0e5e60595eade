"""KITTI's object benchmark."""
