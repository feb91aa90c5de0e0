"""The tokenised data: made once per content and tokenizer, then memory-mapped from a cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.diagnostics.training import NoData, VocabTooSmall, WrongDataForm
from tantra_dsl.semantics.recipe import DataSource, Recipe
from tantra_dsl.semantics.recipe_keys import BUNDLED
from tantra_dsl.train import text, tokenizer
from tantra_dsl.train.files import told
from tantra_dsl.train.objective import Objective
from tantra_dsl.train.tokenizer import Tokenizer

FORMAT = 1
Array = NDArray[Any]
Part = Literal["train", "validation"]


@dataclass(frozen=True)
class Corpus:
    """Tokens of the training and validation parts.

    Text: ``tokens``, an array. Pairs: ``source`` and ``target``, the rows one after another, and
    ``source_ends`` and ``target_ends``, where each row ends. ``digest`` names content, tokenizer and split.
    """

    tokenizer: Tokenizer
    digest: str
    train: Mapping[str, Array]
    validation: Mapping[str, Array]


def cache_folder() -> Path:
    """Where tokenised data is kept: ``TANTRA_CACHE``, or ``tantra`` in the user's cache folder."""
    if chosen := os.environ.get("TANTRA_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "tantra"


def load_corpus(source: DataSource | None, objective: Objective, recipe: Recipe, bases: tuple[Path, ...],
                fallback: Path) -> Corpus:  # fmt: skip
    """Tokenised data for ``recipe``; kept below ``fallback`` where the user's cache folder cannot be written.

    Raises SpecError for data that is missing, malformed, of the wrong form, or has too many tokens for the model.
    """
    span = recipe.span("data")
    files = text.read(find_data(source, objective, recipe, bases), span)
    digest = _digest(files, objective, recipe)
    corpus = _cached(digest, fallback) or _build(files, digest, objective, recipe, fallback)
    _check_vocab(corpus.tokenizer, objective, recipe)
    return corpus


def find_data(
    source: DataSource | None, objective: Objective, recipe: Recipe, bases: tuple[Path, ...]
) -> tuple[Path, ...]:
    """The files to train on, unread. Raises SpecError with R0201, R0202 or R0209."""
    span = recipe.span("data")
    if source is None:
        raise SpecError([NoData(span=span, bundled=BUNDLED)])
    _check_form(source, objective, recipe)
    return text.locate(source, bases, span)


def _check_form(source: DataSource, objective: Objective, recipe: Recipe) -> None:
    given, wanted = source.kind == "pairs", objective.kind == "pairs"
    if given == wanted:
        return
    names, example = ("pairs", 'data: pairs("words.tsv")') if wanted else ("text", 'data: "text.txt"')
    form = WrongDataForm(span=recipe.span("data"), given="pairs" if given else "text", wanted=names, example=example)
    raise SpecError([form])


def _check_vocab(made: Tokenizer, objective: Objective, recipe: Recipe) -> None:
    needed = tokenizer.size(made)
    if needed > objective.vocab:
        span = recipe.span("tokenizer" if "tokenizer" in recipe.spans else "data")
        problem = VocabTooSmall(
            span=span, tokenizer=made.kind, needed=needed, vocab=objective.vocab, specials=made.specials
        )
        raise SpecError([problem])


def tokenizer_kind(recipe: Recipe, vocab: int) -> tuple[str, int]:
    """The tokenizer's kind and, for ``bpe``, its number of tokens; ``auto`` goes by the model's vocabulary."""
    chosen = recipe.tokenizer
    if chosen.kind != "auto":
        return chosen.kind, chosen.vocab or 0
    return ("bytes" if vocab == 256 else "characters" if vocab < 256 else "bpe"), vocab


def _digest(files: tuple[text.RawFile, ...], objective: Objective, recipe: Recipe) -> str:
    """Names everything that the tokens depend on."""
    kind, vocab = tokenizer_kind(recipe, objective.vocab)
    seed = recipe.seed if recipe.split == "document" or objective.kind == "pairs" else 0
    facts = [FORMAT, kind, vocab, objective.specials, recipe.split, recipe.validation, seed, objective.kind == "pairs"]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for file in files:
        digest.update(hashlib.sha256(file.content).digest())
    return digest.hexdigest()[:32]


# --- building ----------------------------------------------------------------------------


def _build(
    files: tuple[text.RawFile, ...], digest: str, objective: Objective, recipe: Recipe, fallback: Path
) -> Corpus:
    span = recipe.span("data")
    documents = tuple(text.decode(file, span) for file in files)
    if objective.kind == "pairs":
        found = text.pairs(documents[0], str(files[0].path), span)
        made, arrays = _pair_arrays(found, objective, recipe)
    else:
        made, arrays = _text_arrays(documents, objective, recipe)
    return _keep(digest, made, arrays, fallback)


def _make_tokenizer(
    train: tuple[str, ...], everything: tuple[str, ...], objective: Objective, recipe: Recipe
) -> Tokenizer:
    """Byte pairs are learned on the training part; the alphabet is that of all the data."""
    kind, vocab = tokenizer_kind(recipe, objective.vocab)
    if kind == "bytes":
        return tokenizer.Bytes(objective.specials)
    if kind == "characters":
        return tokenizer.learn_characters(everything, objective.specials)
    return tokenizer.learn_bpe(train, vocab, objective.specials)


def _text_arrays(
    documents: tuple[str, ...], objective: Objective, recipe: Recipe
) -> tuple[Tokenizer, dict[str, Array]]:
    parts = text.cut(documents, recipe)
    made = _make_tokenizer(parts.train, documents, objective, recipe)
    arrays = {f"{name}.tokens": _tokens(made, getattr(parts, name)) for name in ("train", "validation")}
    return made, arrays


def _dtype(made: Tokenizer) -> type[np.unsignedinteger[Any]]:
    count = tokenizer.size(made)
    return np.uint8 if count <= 1 << 8 else np.uint16 if count <= 1 << 16 else np.uint32


def _tokens(made: Tokenizer, documents: tuple[str, ...]) -> Array:
    pieces = [made.encode(document).astype(_dtype(made)) for document in documents]
    return np.concatenate([*pieces, np.empty(0, _dtype(made))])


def _pair_arrays(
    found: tuple[text.Pair, ...], objective: Objective, recipe: Recipe
) -> tuple[Tokenizer, dict[str, Array]]:
    train, validation = text.cut_pairs(found, recipe)
    made = _make_tokenizer(_sides(train), _sides(found), objective, recipe)
    arrays: dict[str, Array] = {}
    for name, part in (("train", train), ("validation", validation)):
        arrays |= _rows(f"{name}.source", made, [made.encode(pair.source) for pair in part])
        arrays |= _rows(f"{name}.target", made, [_framed(made, pair.target) for pair in part])
    return made, arrays


def _sides(part: tuple[text.Pair, ...]) -> tuple[str, ...]:
    return tuple(side for pair in part for side in (pair.source, pair.target))


def _framed(made: Tokenizer, target: str) -> Array:
    """A target between its start and end tokens."""
    start, end = tokenizer.special(made, "start"), tokenizer.special(made, "end")
    return np.concatenate([[start], made.encode(target), [end]])


def _rows(name: str, made: Tokenizer, rows: list[Array]) -> dict[str, Array]:
    flat = np.concatenate([*rows, np.empty(0, np.uint32)]).astype(_dtype(made))
    return {name: flat, f"{name}_ends": np.cumsum([len(row) for row in rows], dtype=np.int64)}


# --- the cache ---------------------------------------------------------------------------


def _places(digest: str, fallback: Path) -> tuple[Path, Path]:
    return cache_folder() / "data" / digest, fallback / "data" / digest


def _cached(digest: str, fallback: Path) -> Corpus | None:
    for folder in _places(digest, fallback):
        try:
            return _open(folder, digest)
        except (OSError, ValueError, KeyError):
            continue
    return None


def _open(folder: Path, digest: str) -> Corpus:
    """The corpus of a cache folder. Raises OSError, ValueError or KeyError where it is missing or damaged."""
    sizes: dict[str, int] = json.loads((folder / "sizes.json").read_text())
    made = tokenizer.load((folder / "tokenizer.json").read_text())
    arrays: dict[str, dict[str, Array]] = {"train": {}, "validation": {}}
    for name, count in sizes.items():
        part, _, key = name.partition(".")
        arrays[part][key] = np.load(folder / f"{name}.npy", mmap_mode="r")
        if len(arrays[part][key]) != count:
            raise ValueError(f"{name} holds {len(arrays[part][key])} of {count} entries")
    return Corpus(made, digest, arrays["train"], arrays["validation"])


def _keep(digest: str, made: Tokenizer, arrays: dict[str, Array], fallback: Path) -> Corpus:
    """Writes the corpus to the first place that takes it, and maps it from there."""
    first, second = _places(digest, fallback)
    try:
        return _write(first, digest, made, arrays)
    except OSError:
        with told(fallback):
            return _write(second, digest, made, arrays)


def _write(folder: Path, digest: str, made: Tokenizer, arrays: dict[str, Array]) -> Corpus:
    """Writes beside and renames, so that processes that build the same data at once do not disturb each other."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        for name, array in arrays.items():
            np.save(beside / f"{name}.npy", array)
        (beside / "tokenizer.json").write_text(tokenizer.dump(made))
        (beside / "sizes.json").write_text(json.dumps({name: len(array) for name, array in arrays.items()}))
        _put(beside, folder, digest)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return _open(folder, digest)


def _put(beside: Path, folder: Path, digest: str) -> None:
    """Renames into place, unless another process was first; replaces what is damaged."""
    try:
        beside.rename(folder)
    except OSError:
        try:
            _open(folder, digest)
        except (OSError, ValueError, KeyError):
            shutil.rmtree(folder)
            beside.rename(folder)


def data_facts(source: DataSource, bases: tuple[Path, ...]) -> dict[str, str]:
    """The source with an absolute path, for a later resumption from another folder."""
    facts = asdict(source)
    if source.kind != "bundled":
        found = [base / source.value for base in bases if (base / source.value).exists()]
        facts["value"] = str(found[0].resolve()) if found else source.value
    return facts
