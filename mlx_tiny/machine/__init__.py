"""The machine: whether MLX runs on it, its hardware and versions, its state, and its measured peaks."""
