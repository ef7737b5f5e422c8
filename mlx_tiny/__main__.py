"""`python -m mlx_tiny` is `mlx-tiny`."""

from mlx_tiny.cli import main

main()
