"""The demo: a world, its teacher, and the arms to compare."""
