"""Which model for which budget."""
