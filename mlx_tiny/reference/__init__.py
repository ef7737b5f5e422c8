"""A second implementation of the model, its optimizers and its training step, in plain PyTorch, written to be read.

Start with `model.py`. Only the configuration and the format of checkpoints are shared with the MLX code. So an error
must be made twice to go unnoticed.
"""
