"""Fused operations, each with its plain path.

Importing this package points MLX at a fast BLAS (Linux): the one import of the project that does work, so that no
product can come before it.
"""

from mlx_tiny.linux.lanes import prepare

prepare()
