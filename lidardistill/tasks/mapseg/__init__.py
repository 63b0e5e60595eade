"""Map segmentation."""
