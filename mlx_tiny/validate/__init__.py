"""Results held against references that share no code with them."""
