"""The kind `bpe`: byte-pair encoding, by sentencepiece."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mlx_tiny.data.tokenizers.pieces import PieceTokenizer, marker_text
from mlx_tiny.data.tokenizers.sentencepiece_model import BYTE, CONTROL, MARKER, UNKNOWN, Piece, with_pieces
from mlx_tiny.errors import TinyError

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

SAMPLE_BYTES = 8_000_000
"""Amount of text that the tokenizer is trained on; on TinyStories 4 MB give 0.2 % more tokens, and 12 MB no fewer."""
TRAINING_THREADS = 2
"""A constant, because the number is written into the model and so changes its hash."""
CHARACTER_COVERAGE = 0.9995
"""Share of the text's characters that the alphabet covers (sentencepiece's advice); the rest is spelled in bytes."""
LARGEST_CACHED_WORDS = 500_000
LONGEST_WORD = 2_000
"""In characters; a longer run without a space is encoded in parts of this length."""

META_SPACE = "\u2581"
"""sentencepiece writes a space as this character, and therefore reads the character itself as a space."""
_UNLEARNABLE = re.compile("[\0\u2581\u2585]+")
"""sentencepiece ignores a whole sentence that contains U+2585 or U+0000, so the sample is cut there."""
_WORD_START = re.compile("(?<! ) ")
"""The first space before a word; `str.split(" ")` cuts at the same places where no space follows another."""
_FIRST_MARKER = 2
_CONTROLS_AND_BYTES = 258


class BytePairTokenizer(PieceTokenizer):
    """A space belongs to the word after it, and runs of spaces have tokens of their own; newlines and control
    characters are kept; characters that the alphabet lacks are spelled in bytes.

    Ids: BOS, one that is not used, the markers of the roles, 256 bytes, merged pieces, the alphabet.
    """

    _cut = _WORD_START

    def __init__(self, model: bytes) -> None:
        self._processor = processor = _load_processor(model)
        pieces = [_piece_bytes(processor, index) for index in range(processor.get_piece_size())]
        self._byte_ids = [processor.piece_to_id(f"<0x{byte:02X}>") for byte in range(256)]
        markers = {pieces[index].decode()[2:-2]: index for index in range(_FIRST_MARKER, self._byte_ids[0])}
        super().__init__(model, pieces, processor.bos_id(), markers)
        self._words = _WordCache(self)

    @classmethod
    def from_model(cls, model: bytes) -> BytePairTokenizer:
        if not model:
            raise ValueError("an empty file")  # sentencepiece would print many lines about it
        tokenizer = cls(model)
        if tokenizer.bos < 0 or min(tokenizer._byte_ids) == tokenizer._processor.unk_id():
            raise ValueError("a model of sentencepiece without a BOS symbol and 256 byte pieces")
        return tokenizer

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocabulary_size: int,
        *,
        roles: Iterable[str] = (),
        sample_bytes: int = SAMPLE_BYTES,
    ) -> BytePairTokenizer:
        """Train a tokenizer on the first `sample_bytes` of `texts`; the same texts give the same model.

        Raises:
            TinyError: there is no text, or the vocabulary has no room for the roles.
        """
        return cls(_train(_bounded(texts, sample_bytes), vocabulary_size, list(roles)))

    @classmethod
    def from_pieces(cls, pieces: Sequence[str], roles: Sequence[str] = ()) -> BytePairTokenizer:
        """The tokenizer that has these pieces after its bytes, with the ids of the trained one that has them.

        Args:
            pieces: those that are merged first before others; the alphabet after them all.
            roles: whose markers are ids of their own, in this order.
        """
        bytes_of = (Piece(f"<0x{byte:02X}>", type=BYTE) for byte in range(256))
        every = [
            Piece("<s>", type=CONTROL),
            Piece("<unk>", type=UNKNOWN),
            *(Piece(marker_text(role), type=MARKER) for role in roles),
            *bytes_of,
            *(Piece(text.replace(" ", META_SPACE), -float(rank)) for rank, text in enumerate(pieces)),
        ]
        return cls.from_model(with_pieces(_train(["a"], len(every), list(roles)), every))

    def scores(self) -> list[float]:
        """The score of each id; sentencepiece merges the piece of the best score first."""
        return [self._processor.get_score(index) for index in range(self.size)]

    def merges(self) -> list[tuple[str, str]]:
        """The two parts of each merged piece, in the order in which they are merged wherever they are neighbours.

        sentencepiece merges any two neighbours whose text is a piece, the piece of the best score first, and of these
        the leftmost. Two neighbours are, also in the midst of a text, what the better pieces make of their own text. So
        each piece is merged of the same two parts everywhere, or never; what never is merged is left out here.

        Raises:
            ValueError: two pieces have the same score, or a part is not a piece.
        """
        first = self._byte_ids[-1] + 1
        texts = [piece.decode() for piece in self.piece_bytes[first:]]
        scores = {text: score for text, score in zip(texts, self.scores()[first:], strict=True) if len(text) > 1}
        falling = sorted(scores, key=scores.__getitem__, reverse=True)
        if len(set(scores.values())) < len(scores):
            raise ValueError("two pieces of the same score")
        ranks = {text: rank for rank, text in enumerate(falling)}
        found = [parts for text in falling if (parts := _merged_last(text, ranks))]
        if not {part for parts in found for part in parts} <= set(texts):
            raise ValueError("a part of a piece that is not a piece")
        return found

    def _encode_plain(self, text: str) -> bytes:
        # No token crosses the start of a word with the spaces before it, so each can be encoded, and cached, alone.
        first, *words = _WORD_START.split(text) if "  " in text else text.split(" ")
        return b"".join([self._encode_word(first), *map(self._words.__getitem__, words)])

    def _encode_word(self, word: str) -> bytes:
        if len(word) > LONGEST_WORD:
            parts = [word[start : start + LONGEST_WORD] for start in range(0, len(word), LONGEST_WORD)]
            return b"".join(map(self._encode_word, parts))
        if META_SPACE in word:
            spelled = np.array([self._byte_ids[byte] for byte in META_SPACE.encode()], dtype="<u2").tobytes()
            return spelled.join(map(self._encode_word, word.split(META_SPACE)))
        return np.array(self._processor.encode(word), dtype="<u2").tobytes()


class _WordCache(dict[str, bytes]):
    """Encoded words, without the first space before each; most words of natural text occur again and again."""

    def __init__(self, tokenizer: BytePairTokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, word: str) -> bytes:
        encoded = self._tokenizer._encode_word(f" {word}")
        if len(self) >= LARGEST_CACHED_WORDS:
            self.clear()
        if len(word) <= 64:
            self[word] = encoded
        return encoded


def _merged_last(piece: str, ranks: dict[str, int]) -> tuple[str, str] | None:
    """The two parts that are left of a piece when all better pieces are merged in it; None if there are more."""
    parts, own = list(piece), ranks[piece]
    while len(parts) > 2:
        rank, at = min((ranks.get(left + right, own), i) for i, (left, right) in enumerate(pairwise(parts)))
        if rank >= own:
            return None
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def _load_processor(model: bytes) -> SentencePieceProcessor:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=model)


def _piece_bytes(processor: SentencePieceProcessor, index: int) -> bytes:
    piece: str = processor.id_to_piece(index)
    if processor.is_byte(index):
        return bytes([int(piece[3:5], 16)])
    if processor.is_control(index) or processor.is_unknown(index):
        return b""
    return piece.replace(META_SPACE, " ").encode()


def _bounded(texts: Iterable[str], sample_bytes: int) -> list[str]:
    """The parts of `texts` that sentencepiece accepts, up to `sample_bytes`."""
    parts: list[str] = []
    size = 0
    for text in texts:
        for part in _UNLEARNABLE.split(text):
            if part and size < sample_bytes:
                parts.append(part)
                size += len(part.encode())
        if size >= sample_bytes:
            break
    return parts


def _train(parts: list[str], vocabulary_size: int, roles: list[str]) -> bytes:
    import sentencepiece

    room = vocabulary_size - _CONTROLS_AND_BYTES - len(roles)
    _require_possible(parts, roles, room)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_learnable(parts, room)),
        model_writer=model,
        vocab_size=vocabulary_size,
        hard_vocab_limit=False,
        user_defined_symbols=[marker_text(role) for role in roles],
        model_type="bpe",
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        byte_fallback=True,
        character_coverage=1.0,
        bos_id=0,
        unk_id=1,
        eos_id=-1,
        pad_id=-1,
        max_sentence_length=1 << 30,
        num_threads=TRAINING_THREADS,
        minloglevel=2,
    )
    return model.getvalue()


def _require_possible(parts: list[str], roles: list[str], room: int) -> None:
    if not parts:
        raise TinyError("There is no text for a vocabulary", remedy="Give some text")
    if room < 1:
        raise TinyError(
            f"The vocabulary has no room for the markers of {len(roles)} roles",
            expected=f"at least {_CONTROLS_AND_BYTES + len(roles) + 1} tokens",
            got=room + _CONTROLS_AND_BYTES + len(roles),
            remedy="Ask for a larger vocabulary (--vocabulary-size)",
        )
    reserved = next((role for role in roles if not role or _UNLEARNABLE.search(role)), None)
    if reserved is not None:
        raise TinyError("The name of a role cannot become a marker", got=repr(reserved), remedy="Rename the role")


def _learnable(parts: list[str], room: int) -> list[str]:
    """The parts without their rarest characters: the alphabet takes at most half of `room`."""
    counts = np.bincount(np.frombuffer("".join(parts).encode("utf-32-le"), dtype="<u4"))
    falling = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    share = np.cumsum(counts[falling]) / max(1, counts.sum())
    kept = min(int(np.searchsorted(share, CHARACTER_COVERAGE)) + 1, (room + 1) // 2)
    rare = "".join(map(chr, falling[kept:]))
    if not rare:
        return parts
    cut = re.compile(f"[{re.escape(rare)}]+")
    return [piece for part in parts for piece in cut.split(part) if piece]
