"""Implementations of the operations: numba on a CPU, triton on CUDA, torch as the slow twin."""
