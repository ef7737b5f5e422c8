"""Measures the speed of operations, training steps and generation, compared with other libraries."""
