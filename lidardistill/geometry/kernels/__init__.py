"""The same functions twice: numba kernels and their slow numpy twins. Call them through the modules above."""
