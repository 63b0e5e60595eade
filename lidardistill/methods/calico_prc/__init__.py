"""CALICO's first stage: point-region contrast."""
