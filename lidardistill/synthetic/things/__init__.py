"""Things that stand in a world."""
