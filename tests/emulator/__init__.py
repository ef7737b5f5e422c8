"""Runs the project's Metal text on a CPU, as MLX would launch it, and watches what it does."""

from .compiler import CompileError
from .executor import compile_ahead
from .faults import Fault, KernelFault, Kind
from .stand_in import LaunchRecord, emulated_metal
from .translation import NotTranslatable

__all__ = [
    "CompileError",
    "Fault",
    "KernelFault",
    "Kind",
    "LaunchRecord",
    "NotTranslatable",
    "compile_ahead",
    "emulated_metal",
]
