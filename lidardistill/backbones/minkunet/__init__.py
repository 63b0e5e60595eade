"""MinkUNet."""
