"""Studies of what mlx_tiny is worth: a baseline that shares its data and its measure, and paired comparisons."""
