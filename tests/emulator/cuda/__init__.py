"""The same translated kernels compiled as CUDA: by NVRTC (PyPI) on any Linux machine, and run where there is a GPU.

Correctness only: a time taken on an NVIDIA GPU says nothing about a Mac.
"""
