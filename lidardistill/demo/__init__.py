"""The demo: a world, its teacher, and the arms that it compares."""
