"""What every room may use: statistics, child processes, tables and plots."""
