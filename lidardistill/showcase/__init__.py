"""Arrays for the pictures of trained networks."""
