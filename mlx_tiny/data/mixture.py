"""Several texts in given shares: `--data stories:0.3 --data my.txt:0.7`.

Each text is prepared for itself, with its own held-out part, in the tokens of one tokenizer. What is held out of one
text is not trained on in the others. The tokenizer is trained on a sample in which each text has its share of bytes; a
text that is too short for its share occurs repeatedly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import Progress, byte_length
from mlx_tiny.data.events.schema import Schema
from mlx_tiny.data.find import NAMED
from mlx_tiny.data.names import absolute
from mlx_tiny.data.overlap import disjoint
from mlx_tiny.data.prepare import learn_tokenizer, prepare, silent, text_key, vocabulary_of
from mlx_tiny.data.prepared import (
    EARLIER_VERSIONS,
    PREPARED_VERSION,
    Part,
    PreparedCorpus,
    find_prepared,
    made_again,
    prepared_folder,
    renamed,
    require_key,
)
from mlx_tiny.data.sampling import survey
from mlx_tiny.data.sources import Source, find_source, require_used, resolve
from mlx_tiny.data.tokenizer import Tokenizer, require_size
from mlx_tiny.data.tokenizers.byte_pair import SAMPLE_BYTES
from mlx_tiny.errors import TinyError
from mlx_tiny.files import atomic_folder, discard_folder, expanded, hash_text, remove_leftovers
from mlx_tiny.records import Record, read_sealed, write_sealed

SMALLEST_SHARE = 1e-6
"""A run of a million sequences takes one from such a text."""


@dataclass(frozen=True)
class MixtureRecord(Record):
    """The content of `mixture.json` in the folder of a mixture."""

    kind = "mixture"
    version = 2

    key: str
    """See `MixedCorpus`."""
    keys: list[str]
    """Of the prepared texts."""
    shares: list[float]
    descriptions: list[str]


@dataclass(frozen=True)
class MixedCorpus:
    """Prepared texts with their shares."""

    key: str
    """Hash of the texts, their shares and the tokenizer, and the name of the folder."""
    parts: tuple[Part, ...]

    @property
    def description(self) -> str:
        """One line with the share of each text."""
        return _described((part.share, part.corpus.description) for part in self.parts)

    @property
    def directory(self) -> Path:
        """A folder with the tokenizer of all parts."""
        return self.parts[0].corpus.directory

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of all parts."""
        return self.parts[0].corpus.tokenizer

    @property
    def bytes_per_event(self) -> None:
        """A mixture does not consist of events."""

    @property
    def valid_text_hash(self) -> str:
        """Hash of the validation texts and their shares."""
        return hash_text("mixture", *((part.share, part.corpus.valid_text_hash) for part in self.parts))


Corpus = PreparedCorpus | MixedCorpus


class Mixture:
    """The sources of a mixture, with their shares.

    Args:
        config: names each source with its weight.

    Raises:
        TinyError: weights that are missing or not positive, a validation file, or a source that cannot be found.
    """

    def __init__(self, config: DataConfig) -> None:
        named = [split_weight(name) for name in config.sources]
        self._weights = _all_weights(named)
        self.shares = _normalised(self._weights, [name for name, _ in named])
        if config.validation is not None:
            raise TinyError(
                "A validation file cannot be used with a mixture, whose texts are measured one by one",
                got=config.validation,
                remedy="Leave it out, so that a part of each text is held out",
            )
        if config.schema is not None:
            raise TinyError("A schema cannot be used with a mixture", remedy="Leave the weights or the schema out")
        sources = [find_source(replace(config, sources=(name,))) for name, _ in named]
        require_used(sources)
        self.sources = disjoint(sources)

    @property
    def names(self) -> tuple[str, ...]:
        """The value of `DataConfig.sources` that means this mixture, now and in a resumed run."""
        parts = zip(self.sources, self._weights, strict=True)
        return tuple(_with_weight(source.names[0], weight) for source, weight in parts)

    @property
    def description(self) -> str:
        """One line with the share of each text."""
        return _described(zip(self.shares, (source.description for source in self.sources), strict=True))

    def prepare(
        self,
        config: DataConfig,
        report: Progress,
        tokenizer: Tokenizer | None,
        *,
        exact_vocabulary: bool,
        tell: Callable[[str], None],
    ) -> MixedCorpus:
        """Open the token files of all texts, and write those that are missing.

        Args:
            config: the kind and the largest size of the vocabulary, which may not have been known when the texts were
                looked for.
            tokenizer: of a trained model, to be used instead of one that is trained on the mixture.
            exact_vocabulary, tell: see `prepare.prepare`.

        Raises:
            TinyError: a text cannot be read, or is too small for the settings.
        """
        for source in self.sources:
            source.make_ready(report)
        (key,) = self.keys((PREPARED_VERSION,), config, tokenizer)
        configs = [replace(config, sources=source.names) for source in self.sources]
        remove_leftovers(prepared_folder(key).parent)
        known = find_mixture(key, tell)
        if known is not None:
            if exact_vocabulary:
                require_size(known.tokenizer.size, config.vocabulary_size)
            return self._named(known, configs)
        tokenizer = tokenizer or self._learn_tokenizer(config, configs, report, exact_vocabulary)
        parts = zip(self.shares, configs, self.sources, strict=True)
        mixed = MixedCorpus(
            key,
            tuple(
                Part(share, prepare(config, progress=report, source=source, tokenizer=tokenizer, tell=tell))
                for share, config, source in parts
            ),
        )
        _write(mixed)
        return mixed

    def keys(self, versions: Sequence[int], config: DataConfig, tokenizer: Tokenizer | None) -> list[str]:
        """The keys under which these versions prepare the mixture."""
        parts = *self.shares, *(source.fingerprint() for source in self.sources), vocabulary_of(config, tokenizer)
        return [hash_text("disjoint mixture", version, *parts)[:32] for version in versions]

    def _named(self, known: MixedCorpus, configs: Sequence[DataConfig]) -> MixedCorpus:
        """A mixture from the cache with the names and settings of now."""
        texts = zip(known.parts, self.sources, configs, strict=True)
        return replace(
            known,
            parts=tuple(Part(share, renamed(corpus, source, config)) for (share, corpus), source, config in texts),
        )

    def _learn_tokenizer(
        self, config: DataConfig, configs: Sequence[DataConfig], report: Progress, exact_vocabulary: bool
    ) -> Tokenizer:
        pairs = zip(self.sources, configs, strict=True)
        surveys = [survey(source, config, report) for source, config in pairs]
        return learn_tokenizer(
            mixed_sample([each.sample for each in surveys], self.shares),
            config,
            report,
            exact_vocabulary=exact_vocabulary,
            roles=sorted({role for each in surveys for role in each.found.roles}),
        )


def resolve_data(config: DataConfig, schema: Schema | None = None) -> Source | Mixture:
    """The source, or the mixture of sources, that the settings name.

    Args:
        schema: see `resolve`.

    Raises:
        TinyError: a source does not exist or has no file that can be read, or weights are wrong.
    """
    weighted = any(split_weight(name)[1] is not None for name in config.sources)
    return Mixture(config) if weighted else resolve(config, schema)


def prepare_data(
    config: DataConfig,
    *,
    progress: Progress | None = None,
    source: Source | Mixture | None = None,
    tokenizer: Tokenizer | None = None,
    exact_vocabulary: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Corpus:
    """`prepare` for a source or a mixture.

    Args:
        source: the result of `resolve_data`, if the caller has it already, perhaps for another vocabulary.
        config, progress, tokenizer, exact_vocabulary, tell: as for `prepare`.
    """
    source = source or resolve_data(config)
    if isinstance(source, Mixture):
        return source.prepare(config, progress or silent, tokenizer, exact_vocabulary=exact_vocabulary, tell=tell)
    return prepare(
        config,
        progress=progress,
        source=source,
        tokenizer=tokenizer,
        exact_vocabulary=exact_vocabulary,
        tell=tell,
    )


def possible_keys(
    source: Source | Mixture, config: DataConfig, tokenizer: Tokenizer | None, report: Progress
) -> list[str]:
    """The keys under which this version, and then earlier ones, prepare the same text in the same tokens.

    Args:
        report: called while what the cache lacks is downloaded.
    """
    versions = (PREPARED_VERSION, *EARLIER_VERSIONS)
    for each in source.sources if isinstance(source, Mixture) else (source,):
        each.make_ready(report)
    if isinstance(source, Mixture):
        return source.keys(versions, config, tokenizer)
    fingerprint = source.fingerprint()
    return [text_key(version, fingerprint, config, tokenizer) for version in versions]


def find_data(key: str, description: str) -> Corpus | None:
    """The prepared text or mixture with this key, or None where it is not in the cache."""
    return find_prepared(key, description) or find_mixture(key)


def find_mixture(key: str, tell: Callable[[str], None] = lambda _: None) -> MixedCorpus | None:
    """The prepared mixture with this key, or None where it or one of its texts is not in the cache, or damaged.

    Args:
        tell: called with a line where its description is damaged.
    """
    path = prepared_folder(key) / "mixture.json"
    if not path.parent.is_dir():
        return None
    try:
        record = read_sealed(path, MixtureRecord, "description of the mixture")
        require_key(path.parent, record.key)
    except TinyError as error:
        tell(made_again(error))
        return None
    parts = []
    for share, part_key, description in zip(record.shares, record.keys, record.descriptions, strict=True):
        corpus = find_prepared(part_key, description)
        if corpus is None:
            return None
        parts.append(Part(share, corpus))
    return MixedCorpus(key, tuple(parts))


def split_weight(name: str) -> tuple[str, float | None]:
    """The name of a source and its weight: "my.txt:0.7" -> ("my.txt", 0.7). A file of the whole name has none.

    Raises:
        TinyError: the weight is not a positive, finite number.
    """
    source, colon, number = name.rpartition(":")
    if not colon or expanded(name).exists():
        return name, None
    try:
        weight = float(number)
    except ValueError:
        return name, None
    if not (0 < weight < math.inf):
        raise TinyError(f"The weight of {source} is out of range", expected="a positive number", got=number)
    return source, weight


def absolute_names(asked: dict[str, Any]) -> dict[str, Any]:
    """Those of the user's settings of the section `data` that name files, made absolute; see `names.absolute`."""
    suffixes, table = asked.get("suffix", ()), "schema" in asked
    names: dict[str, Any]
    names = {name: absolute(asked[name], suffixes, table=table) for name in ("validation", "schema") if name in asked}
    if "sources" in asked:
        names["sources"] = tuple(absolute_source(name, suffixes, table=table) for name in asked["sources"])
    return names


def absolute_source(name: str, suffixes: tuple[str, ...] = (), *, table: bool = False) -> str:
    """`names.absolute` for a name that may have a weight."""
    source, weight = split_weight(name)
    name = absolute(source, suffixes, table=table)
    return name if weight is None else _with_weight(name, weight)


def own_files(sources: Iterable[str]) -> list[str]:
    """Those of the sources that are the user's own files."""
    return [name for name in sources if split_weight(name)[0] not in NAMED]


def mixed_sample(samples: Sequence[Sequence[str]], shares: Sequence[float], limit: int = SAMPLE_BYTES) -> list[str]:
    """Texts of each sample, as many that it has its share of the bytes; a short sample occurs repeatedly.

    Args:
        samples: of each source some texts, with at least one byte.
        limit: bytes of the result, about.
    """
    sizes = [sum(map(byte_length, sample)) for sample in samples]
    whole = min(limit, max(size / share for size, share in zip(sizes, shares, strict=True)))
    mixed = []
    for sample, share in zip(samples, shares, strict=True):
        size, texts = 0, itertools.cycle(sample)
        while size < share * whole:
            text = next(texts)
            size += byte_length(text)
            mixed.append(text)
    return mixed


def _all_weights(named: Sequence[tuple[str, float | None]]) -> list[float]:
    without = [name for name, weight in named if weight is None]
    if without:
        raise TinyError(
            "Only some of the texts have a weight",
            expected="a weight for each, such as --data stories:0.3 --data my.txt:0.7",
            got=f"none for {', '.join(without)}",
        )
    return [weight for _, weight in named if weight is not None]


def _normalised(weights: Sequence[float], names: Sequence[str]) -> list[float]:
    """The weights divided by their sum."""
    relative = [weight / max(weights) for weight in weights]  # whose sum is finite
    shares = [weight / sum(relative) for weight in relative]
    smallest = min(range(len(shares)), key=shares.__getitem__)
    if shares[smallest] < SMALLEST_SHARE:
        raise TinyError(
            f"The share of {names[smallest]} in the mixture is too small",
            expected=f"at least {SMALLEST_SHARE:g} of all weights together",
            got=f"{shares[smallest]:.3g}",
            remedy="Give it a larger weight, or leave it out",
        )
    return shares


def _with_weight(name: str, weight: float) -> str:
    return f"{name}:{weight!r}"


def _described(parts: Iterable[tuple[float, str]]) -> str:
    return "mixture: " + "; ".join(f"{100 * share:.3g} % of the sequences from {text}" for share, text in parts)


def _write(mixed: MixedCorpus) -> None:
    directory = prepared_folder(mixed.key)
    discard_folder(directory)
    corpora = [part.corpus for part in mixed.parts]
    record = MixtureRecord(
        key=mixed.key,
        keys=[corpus.key for corpus in corpora],
        shares=[part.share for part in mixed.parts],
        descriptions=[corpus.description for corpus in corpora],
    )
    with atomic_folder(directory) as folder:
        write_sealed(folder / "mixture.json", record)
