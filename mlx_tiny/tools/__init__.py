"""Statistics, child processes, tables and plots, for the whole package."""
