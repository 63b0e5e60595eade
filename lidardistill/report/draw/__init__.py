"""Pictures of a report: arrays in, pixels out."""
