"""The camera network that makes bird's-eye-view maps."""
