"""Reading training text: bundled, a file, or a folder of files; and cutting off the validation part."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tantra_dsl.diagnostics.core import Diagnostic, SpecError
from tantra_dsl.diagnostics.training import DataNotFound, DataNotText, MalformedPair, TooFewDocuments
from tantra_dsl.semantics.recipe import DataSource, Recipe
from tantra_dsl.semantics.recipe_keys import BUNDLED
from tantra_dsl.syntax.source import Span

SUFFIXES = (".txt", ".text", ".md", ".rst", ".txt.gz")
_HERE = Path(__file__).parent / "data"


@dataclass(frozen=True)
class RawFile:
    """A file's path and its bytes, decompressed."""

    path: Path
    content: bytes


@dataclass(frozen=True)
class Parts:
    """Documents for training and for validation."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


def locate(source: DataSource, bases: tuple[Path, ...], span: Span) -> tuple[Path, ...]:
    """The files of ``source``; a relative path is looked for in each of ``bases``. Raises SpecError with R0202."""
    if source.kind == "bundled":
        return (_HERE / f"{source.value}.txt.gz",)
    path = next((base / source.value for base in bases if _exists(base / source.value)), None)
    if path is None:
        raise _not_found(source.value, "no such file or folder", span)
    if path.is_dir():
        return _folder(path, source.value, span)
    if not path.is_file():
        raise _not_found(source.value, "it is neither a file nor a folder", span)
    return (path,)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _folder(path: Path, shown: str, span: Span) -> tuple[Path, ...]:
    files = tuple(file for file in sorted(path.rglob("*")) if file.name.endswith(SUFFIXES) and file.is_file())
    if not files:
        raise _not_found(shown, f"the folder has no file that ends in {', '.join(SUFFIXES)}", span)
    return files


def _not_found(path: str, reason: str, span: Span) -> SpecError:
    return SpecError([DataNotFound(span=span, path=path, reason=reason, bundled=BUNDLED)])


def read(paths: tuple[Path, ...], span: Span) -> tuple[RawFile, ...]:
    """The files' bytes. Raises SpecError with R0202 where one cannot be read."""
    return tuple(RawFile(path, _read_one(path, span)) for path in paths)


def _read_one(path: Path, span: Span) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "damaged gzip file"
        raise _not_found(str(path), reason, span) from None


def decode(file: RawFile, span: Span) -> str:
    """The file as text, without a byte-order mark. Raises SpecError with R0203."""
    try:
        return file.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError([DataNotText(span=span, path=str(file.path), offset=error.start)]) from None


def cut(documents: tuple[str, ...], recipe: Recipe) -> Parts:
    """Splits off the validation part by position in the text, or by document. Raises SpecError with R0210."""
    if recipe.validation == 0:
        return Parts(documents, ())
    return _by_document(documents, recipe) if recipe.split == "document" else _by_position(documents, recipe.validation)


def _by_position(documents: tuple[str, ...], share: float) -> Parts:
    """Keeps the first characters for training and the last ``share`` for validation, through a document if need be."""
    left = round(sum(map(len, documents)) * (1 - share))
    train: list[str] = []
    for number, document in enumerate(documents):
        if len(document) > left:
            head = (document[:left],) if left else ()
            return Parts((*train, *head), (document[left:], *documents[number + 1 :]))
        train.append(document)
        left -= len(document)
    return Parts(tuple(train), ())


def _by_document(documents: tuple[str, ...], recipe: Recipe) -> Parts:
    """Moves whole documents, in the seed's order, to validation until it has its share."""
    if len(documents) < 2:
        raise SpecError([TooFewDocuments(span=recipe.span("split"), found=len(documents))])
    wanted = sum(map(len, documents)) * recipe.validation
    order = np.random.default_rng(recipe.seed).permutation(len(documents))[:-1]
    lengths = np.cumsum([len(documents[index]) for index in order])
    held = set(order[: int(np.searchsorted(lengths, wanted)) + 1].tolist())
    train = tuple(document for index, document in enumerate(documents) if index not in held)
    return Parts(train, tuple(documents[index] for index in sorted(held)))


@dataclass(frozen=True)
class Pair:
    """A source text and its target."""

    source: str
    target: str


def pairs(text: str, path: str, span: Span) -> tuple[Pair, ...]:
    """The pairs of a TSV; blank lines are skipped. Raises SpecError with R0206, all lines at once (at most 10)."""
    found: list[Pair] = []
    problems: list[Diagnostic] = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.rstrip("\r").split("\t")
        if len(fields) == 2 and all(fields):
            found.append(Pair(*fields))
        elif line.strip():
            problems.append(MalformedPair(span=span, path=path, line=number, reason=_pair_fault(fields)))
    if problems:
        raise SpecError(problems[:10])
    return tuple(found)


def _pair_fault(fields: list[str]) -> str:
    return f"it has {len(fields) - 1} tabs" if len(fields) != 2 else "one side is empty"


def cut_pairs(found: tuple[Pair, ...], recipe: Recipe) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Training and validation pairs, drawn in the seed's order."""
    order = np.random.default_rng(recipe.seed).permutation(len(found))
    held = round(len(found) * recipe.validation)
    chosen = set(order[:held].tolist())
    train = tuple(pair for index, pair in enumerate(found) if index not in chosen)
    return train, tuple(found[index] for index in sorted(chosen))
