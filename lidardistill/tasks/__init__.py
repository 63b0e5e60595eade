"""Tasks of the command line: pretraining and the downstream evaluations."""
