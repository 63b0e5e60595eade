"""Checks of the machine and of a data set."""
