"""Whether PyTorch is here, and recent enough; the one module of the reference that loads without it."""

from __future__ import annotations

import re

from mlx_tiny.errors import TinyError

# The oldest version that pyproject's extra `reference` takes.
OLDEST = (2, 6)
_INSTALL = (
    "Install it with `pip install 'torch>=2.6,<2.14'`; on Linux without an NVIDIA GPU, "
    "`pip install torch --index-url https://download.pytorch.org/whl/cpu` saves gigabytes"
)


def require_torch() -> None:
    """Load PyTorch.

    Raises:
        TinyError: it is missing, cannot be loaded, or is too old.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise TinyError("PyTorch is not installed, and the backend torch needs it", remedy=_INSTALL) from error
    except (ImportError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TinyError(f"PyTorch is installed but cannot be loaded ({reason})", remedy=_INSTALL) from error
    found = re.match(r"(\d+)\.(\d+)", torch.__version__)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        raise TinyError(
            "PyTorch is too old for the backend torch",
            expected=f"version {OLDEST[0]}.{OLDEST[1]} or later",
            got=torch.__version__,
            remedy=_INSTALL,
        )
