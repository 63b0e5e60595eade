"""CenterPoint: head, targets, losses and decoding."""
