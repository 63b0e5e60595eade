"""Where things stand in a world."""
