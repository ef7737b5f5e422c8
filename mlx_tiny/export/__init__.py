"""Writes a trained model for other programs, and checks that they compute what it computes."""
