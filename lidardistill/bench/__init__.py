"""Benchmarks: our kernels beside what people use today."""
