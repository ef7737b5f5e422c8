"""Operations of the training step, each with several implementations. See the README of this folder.

On Linux, importing this package makes MLX use a fast BLAS. It happens at import, so that it comes before any product.
"""

from mlx_tiny.linux.lanes import prepare

prepare()
