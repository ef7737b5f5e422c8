"""How the files of one source are read alike: a short file beside others does not show by itself what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

from mlx_tiny.data.columns import Choice
from mlx_tiny.data.documents import SEPARATOR, Rules
from mlx_tiny.data.find import file_bytes, one_of_several
from mlx_tiny.data.formats.tables import read_csv, read_tsv
from mlx_tiny.data.formats.text import find_rule, is_rule_found
from mlx_tiny.data.opening import InputFile, is_empty

_TABLES = {".csv": read_csv, ".tsv": read_tsv}


def common_rules(rules: Rules, files: Collection[InputFile], *, several: bool = False) -> Rules:
    """The rules by which these files, and others that belong to them, are read.

    Args:
        rules: the user's, which count where they say something.
        files: the training files, or what there is of them.
        several: whether there are more files than these, for errors.

    Raises:
        TinyError: a text file is not text, or a table cannot be read.
    """
    rules = replace(rules, tables=_tables(rules, files, several))
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


def _tables(rules: Rules, files: Collection[InputFile], several: bool) -> Mapping[tuple[str, ...], Choice]:
    """What a document is below each header of some tables, as the largest table with this header shows it."""
    choices = dict[tuple[str, ...], Choice]()
    for file in sorted((file for file in files if file.suffix in _TABLES), key=file_bytes, reverse=True):
        with one_of_several(several or len(files) > 1):
            table = _TABLES[file.suffix](file, replace(rules, tables=choices)).table
            if table is not None:
                choices.setdefault(*table)
    return choices
