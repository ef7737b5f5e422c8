"""How the files of one source are read alike: a short file beside others does not show by itself what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from mlx_tiny.data.documents import SEPARATOR, Rules
from mlx_tiny.data.find import file_bytes, one_of_several
from mlx_tiny.data.formats.text import find_rule, is_rule_found
from mlx_tiny.data.opening import InputFile, is_empty


def common_rules(rules: Rules, files: Collection[InputFile], *, several: bool = False) -> Rules:
    """The rules by which these files, and others that belong to them, are read.

    Args:
        rules: the user's, which count where they say something.
        files: the training files, or what there is of them.
        several: whether there are more files than these, for errors.

    Raises:
        TinyError: a text file is not text.
    """
    if rules.documents != "auto":
        return rules
    bytes_by_rule = Counter[str]()
    for file in files:
        with one_of_several(several or len(files) > 1):
            if is_rule_found(file) and not is_empty(file):
                rule = find_rule(file)
                if rule == SEPARATOR:
                    return replace(rules, found=rule)
                bytes_by_rule[rule] += file_bytes(file)
    return replace(rules, found=max(bytes_by_rule, key=bytes_by_rule.__getitem__, default=None))
