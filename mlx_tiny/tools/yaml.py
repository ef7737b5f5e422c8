"""Reads YAML files that people write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx_tiny.errors import TinyError
from mlx_tiny.files import read_whole

_MOST_BYTES = 1 << 20


def read_yaml(path: Path, what: str) -> Any:
    """The values of a YAML file, all of them as text, so that `on`, `1e-3` and `007` stay what they are.

    Args:
        what: the file is, for errors.

    Raises:
        TinyError: it is missing, too large, no YAML, or has a name twice; the error names the line.
    """
    import yaml

    class Loader(yaml.BaseLoader):
        def construct_mapping(self, node: yaml.Node, deep: bool = False) -> Any:
            names = list[Any]()
            for key, _ in node.value:
                if key.value in names:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} occurs twice", problem_mark=key.start_mark)
                names.append(key.value)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(read_whole(path, what, _MOST_BYTES), Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"Line {mark.line + 1} of {path}" if mark else f"The {what} {path}"
        raise TinyError(f"{place} is not valid YAML: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise TinyError(f"The {what} {path} is not valid YAML: lists within lists without end") from None
