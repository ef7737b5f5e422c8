"""The kernels' second witness: the text that MLX generates, compiled as CUDA and run on an NVIDIA GPU.

`metal.h` gives Metal's names their meaning in CUDA. NVRTC (PyPI) compiles on any Linux machine; where there is a GPU,
scripts/cuda_witness.py runs every kernel on it. Correctness only: a time taken there says nothing about a Mac.
"""
