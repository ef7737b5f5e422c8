"""The CPU port: a fast BLAS, one lane a core, warm-up, and implementations of operations made for a CPU."""
