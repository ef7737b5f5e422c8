"""Which model to train with which budget."""
