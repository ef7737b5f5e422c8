"""The port to Linux and CPUs: a fast BLAS, one lane per core, compilation ahead, and operations written for a CPU.

Readers who care about Macs can skip this folder.
"""
