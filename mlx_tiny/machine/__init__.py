"""The machine: whether MLX runs on it, what it is, how it is, and the most that it can do."""
