"""The transformer: parameters, forward pass, and text from it."""
