"""The model, its training step and its optimizers once more, in plain PyTorch, written to be read.

Begin with `model.py`. Nothing here comes from the MLX side but the configuration and the format of checkpoints, so
that where the two agree, both are right or both misunderstood the same sentence.
"""
