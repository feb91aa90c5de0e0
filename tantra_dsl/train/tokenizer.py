"""Tokenizers: UTF-8 bytes, the data's characters, and a byte-level BPE; each saves as one JSON text."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

Ids = NDArray[np.uint32]


class Tokenizer(Protocol):
    """Text to ids and back. Special tokens come after the text's own, and stand for no text."""

    @property
    def specials(self) -> tuple[str, ...]:
        """Names of the special tokens."""

    @property
    def kind(self) -> str:
        """``bytes``, ``characters`` or ``bpe``."""

    @property
    def base(self) -> int:
        """Number of tokens without the special ones."""

    def encode(self, text: str) -> Ids:
        """Ids of ``text``. Raises UnknownCharacters."""

    def token_bytes(self, token: int) -> bytes:
        """UTF-8 bytes that a token stands for; they may end inside a character."""

    def state(self) -> dict[str, Any]:
        """What ``load`` needs, as JSON values."""


class UnknownCharacters(Exception):
    """Text holds characters that are no tokens."""

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = tuple(characters)
        super().__init__(", ".join(map(repr, self.characters)))


def size(tokenizer: Tokenizer) -> int:
    """Number of tokens, special ones included."""
    return tokenizer.base + len(tokenizer.specials)


def special(tokenizer: Tokenizer, name: str) -> int:
    """Id of a special token."""
    return tokenizer.base + tokenizer.specials.index(name)


@dataclass(frozen=True)
class Bytes:
    """One token per UTF-8 byte."""

    specials: tuple[str, ...] = ()
    kind = "bytes"
    base = 256

    def encode(self, text: str) -> Ids:
        """The bytes of ``text``."""
        return np.frombuffer(text.encode(), np.uint8).astype(np.uint32)

    def token_bytes(self, token: int) -> bytes:
        """The byte itself."""
        return bytes((token,)) if token < self.base else b""

    def state(self) -> dict[str, Any]:
        """Nothing but the kind."""
        return {}


@dataclass(frozen=True)
class Characters:
    """One token per character of ``alphabet``, which is sorted."""

    alphabet: str
    specials: tuple[str, ...] = ()
    kind = "characters"

    @property
    def base(self) -> int:
        """Size of the alphabet."""
        return len(self.alphabet)

    @cached_property
    def _codes(self) -> Ids:
        return _code_points(self.alphabet)

    def encode(self, text: str) -> Ids:
        """Index of each character in the alphabet."""
        points = _code_points(text)
        ids = np.searchsorted(self._codes, points).astype(np.uint32)
        strange = np.setdiff1d(points, self._codes)
        if strange.size:
            raise UnknownCharacters([chr(point) for point in strange])
        return ids

    def token_bytes(self, token: int) -> bytes:
        """The character in UTF-8."""
        return self.alphabet[token].encode() if token < self.base else b""

    def state(self) -> dict[str, Any]:
        """The alphabet."""
        return {"alphabet": self.alphabet}


def _code_points(text: str) -> Ids:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


@dataclass(frozen=True)
class BytePairs:
    """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019); ``model`` is the learned JSON."""

    model: str
    specials: tuple[str, ...] = ()
    kind = "bpe"

    @cached_property
    def _engine(self) -> Engine:
        from tokenizers import Tokenizer as Engine

        return Engine.from_str(self.model)

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        names = _byte_names()
        vocab: dict[str, int] = self._engine.get_vocab()
        return {token: bytes(names[character] for character in text) for text, token in vocab.items()}

    @property
    def base(self) -> int:
        """Number of learned tokens, the 256 bytes included."""
        return int(self._engine.get_vocab_size())

    def encode(self, text: str) -> Ids:
        """Ids, encoded in parallel over pieces that no token crosses."""
        encoded = self._engine.encode_batch_fast(list(_pieces(text)))
        return np.concatenate([np.asarray(piece.ids, np.uint32) for piece in encoded] or [np.empty(0, np.uint32)])

    def token_bytes(self, token: int) -> bytes:
        """The bytes that the token merges."""
        return self._bytes.get(token, b"")

    def state(self) -> dict[str, Any]:
        """The learned model."""
        return {"model": self.model}


_PIECE = 1 << 16
_CUT = re.compile(r"(?<=\S)\n(?=\S)")


def _pieces(text: str) -> Iterator[str]:
    """``text`` in pieces that end after a single newline between words, where byte-pair tokens end anyway."""
    start = 0
    while start < len(text):
        cut = _CUT.search(text, start + _PIECE) if start + _PIECE < len(text) else None
        end = cut.end() if cut else len(text)
        yield text[start:end]
        start = end


def _byte_names() -> dict[str, int]:
    """The printable character that stands for each byte in byte-level BPE (Radford et al. 2019)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    names = {chr(byte): byte for byte in plain}
    return names | {chr(256 + index): byte for index, byte in enumerate(others)}


def learn_characters(texts: Iterable[str], specials: tuple[str, ...]) -> Characters:
    """The tokenizer of all characters in ``texts``."""
    alphabet: set[str] = set()
    for text in texts:
        alphabet |= set(text)
    return Characters("".join(sorted(alphabet)), specials)


def learn_bpe(texts: Sequence[str], vocab: int, specials: tuple[str, ...]) -> BytePairs:
    """A BPE of at most ``vocab`` tokens, special ones included, learned on ``texts``."""
    from tokenizers import Tokenizer as Engine
    from tokenizers import decoders, models, pre_tokenizers, trainers

    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    wanted = max(vocab - len(specials), len(alphabet))
    trainer = trainers.BpeTrainer(vocab_size=wanted, initial_alphabet=alphabet, show_progress=False)
    engine.train_from_iterator((piece for text in texts for piece in _pieces(text)), trainer)
    return BytePairs(engine.to_str(), specials)


def dump(tokenizer: Tokenizer) -> str:
    """The tokenizer as JSON text."""
    return json.dumps({"kind": tokenizer.kind, "specials": tokenizer.specials, **tokenizer.state()}, ensure_ascii=False)


def load(text: str) -> Tokenizer:
    """The tokenizer that ``dump`` wrote."""
    state = json.loads(text)
    kind, specials = state.pop("kind"), tuple(state.pop("specials"))
    makers = {"bytes": Bytes, "characters": Characters, "bpe": BytePairs}
    made: Tokenizer = makers[kind](**state, specials=specials)
    return made


def stream_text(tokenizer: Tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """Text of ``tokens`` as it becomes complete; bytes that are no UTF-8 become U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        if text := decoder.decode(tokenizer.token_bytes(token)):
            yield text
    if rest := decoder.decode(b"", final=True):
        yield rest
