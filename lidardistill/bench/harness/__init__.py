"""What all benchmarks share: timing two ways in turn, memory, and the record of figures."""
