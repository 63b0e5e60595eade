"""Meshes, materials and textures."""
