"""Verbs that train and write a run folder."""
