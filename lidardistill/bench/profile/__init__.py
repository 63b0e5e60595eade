"""Where the time and memory of a pretraining step go, part by part."""
