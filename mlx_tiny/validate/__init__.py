"""Checks results against references that share no code with them."""
