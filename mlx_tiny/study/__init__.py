"""Which model to train with which budget, and which of several ways to train is better."""
