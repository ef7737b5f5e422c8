"""A run: steps, budget, checkpoints, evaluation, and the loop that spends them."""
