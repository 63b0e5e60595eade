"""The world in nuScenes format."""
