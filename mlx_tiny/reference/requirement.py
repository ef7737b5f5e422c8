"""Checks that PyTorch is installed and recent enough; this module itself does not need it."""

from __future__ import annotations

import re

from mlx_tiny.errors import TinyError, first_line
from mlx_tiny.tools.processes import installing

# As in the extra `reference` of pyproject.toml. Newer versions are not refused, because they may work.
VERSIONS = "torch>=2.6,<2.14"
OLDEST = (2, 6)
_INSTALL = (
    f"Install it with `{installing(VERSIONS)}`; on Linux without an NVIDIA GPU, "
    f"`{installing(VERSIONS, '--index-url', 'https://download.pytorch.org/whl/cpu')}` saves gigabytes"
)


def require_torch(user: str = "the backend torch") -> None:
    """Import PyTorch; errors say that `user` needs it.

    Raises:
        TinyError: it is missing, cannot be loaded, or is too old.
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        # The missing module may be one of its dependencies.
        if isinstance(error, ModuleNotFoundError) and error.name == "torch":
            raise TinyError(f"PyTorch is not installed, and {user} needs it", remedy=_INSTALL) from error
        raise TinyError(f"PyTorch is installed but cannot be loaded ({first_line(error)})", remedy=_INSTALL) from error
    found = re.match(r"(\d+)\.(\d+)", torch.__version__)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        raise TinyError(
            f"PyTorch is too old for {user}",
            expected=f"version {OLDEST[0]}.{OLDEST[1]} or later",
            got=torch.__version__,
            remedy=_INSTALL,
        )
