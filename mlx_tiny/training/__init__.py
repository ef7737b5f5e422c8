"""A training run: its steps, budget, checkpoints and evaluations, and the loop around them."""
