"""Point segmentation: probe and fine-tuning."""
