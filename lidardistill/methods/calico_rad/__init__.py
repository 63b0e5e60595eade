"""CALICO's second stage: region-aware distillation."""
