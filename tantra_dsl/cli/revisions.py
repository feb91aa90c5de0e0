"""Specs as they are in a git revision: ``HEAD~1:specs/x.tantra``."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tantra_dsl.diagnostics.core import Diagnostic, Sink, SpecError
from tantra_dsl.diagnostics.revisions import NoRepository, NotARevision, NotInRevision
from tantra_dsl.syntax.source import Source, Span

if TYPE_CHECKING:
    from tantra_dsl.api import Spec

_SIDE = re.compile(r"(?P<revision>[^:]+):(?P<path>[^:]+\.(?:tantra|ya?ml))(?::(?P<model>\w+))?\Z")
_USED = re.compile(r"[\w./+-]+\.(?:tantra|ya?ml)\b")
_LIMIT = 200


def load(spec: str) -> Spec:
    """A spec from a file, the shipped ones or a git revision. Raises SpecError."""
    import tantra_dsl

    side = _SIDE.match(spec)
    if side is None or Path(spec).exists() or Path(side["revision"]).exists():
        return tantra_dsl.load(spec)
    return at_revision(side["revision"], side["path"], side["model"] or "")


def at_revision(revision: str, path: str, model: str = "") -> Spec:
    """The spec at ``path`` of a revision, with the files that it uses as they were then. Raises SpecError."""
    from tantra_dsl.api import spec_of
    from tantra_dsl.semantics.library import Reader

    tree = _Tree(revision, _from_top(revision, path))
    sink = Sink()
    with tempfile.TemporaryDirectory(prefix="tantra-") as folder:
        root = Path(folder)
        tree.write(tree.path, root)
        own = root / tree.path.name
        # Beside `HEAD:./x.tantra` lies `HEAD:./y.tantra`; without the folder, what it uses would lose the revision.
        shown = f"{tree.path}" if tree.path.parent.parts else f"./{tree.path}"
        unit = Reader(sink).read(own, shown=f"{revision}:{shown}")
        if unit is None or sink.errors:
            raise SpecError(sink.sorted())
        return spec_of(unit, model, (), sink)


@dataclass
class _Tree:
    """The files of one revision, written out as they are needed."""

    revision: str
    path: PurePosixPath
    written: set[PurePosixPath] = field(default_factory=set)

    def write(self, path: PurePosixPath, root: Path) -> None:
        """Write a file below ``root``, and those that it names, where they lie in the spec's folder or below."""
        pending = [path]
        while pending and len(self.written) < _LIMIT:
            current = pending.pop()
            text = self._read(current)
            if text is None:
                continue
            self.written.add(current)
            target = root / current.relative_to(self.path.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
            named = _USED.findall(text.decode("utf-8", "replace"))
            pending += [p for p in (_inside(current.parent, name) for name in named) if self._wanted(p)]

    def _wanted(self, path: PurePosixPath) -> bool:
        return path not in self.written and path.is_relative_to(self.path.parent)

    def _read(self, path: PurePosixPath) -> bytes | None:
        """Content of a plain file; None where a file that is only mentioned is not there."""
        listed = git("ls-tree", "--full-tree", "-z", self.revision, "--", str(path)).stdout
        if listed.startswith((b"100644 ", b"100755 ")):
            return git("cat-file", "blob", listed.split()[2].decode()).stdout
        if path == self.path:
            raise _refused(
                NotInRevision(span=_nowhere(f"{self.revision}:{path}"), revision=self.revision, path=str(path))
            )
        return None


def _inside(folder: PurePosixPath, name: str) -> PurePosixPath:
    """A path without its ``.`` and ``..``."""
    parts: list[str] = []
    for part in (folder / name).parts:
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return PurePosixPath(*parts)


def _from_top(revision: str, path: str) -> PurePosixPath:
    """The path from the repository's top, as git itself reads it: ``./x`` counts from the current folder."""
    found = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found.returncode or revision.startswith("-"):
        raise _refused(NotARevision(span=_nowhere(f"{revision}:{path}"), revision=revision))
    if not path.startswith(("./", "../")):
        return PurePosixPath(path)
    prefix = git("rev-parse", "--show-prefix").stdout.decode().strip()
    return _inside(PurePosixPath(prefix), path)


def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """What git answers. Raises SpecError where it cannot be asked."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise _refused(NoRepository(span=_nowhere("git"), reason="git is not installed")) from None
    said = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode == 128 and said and "rev-parse" not in said:
        raise _refused(NoRepository(span=_nowhere("git"), reason=said.splitlines()[0].removeprefix("fatal: ")))
    return done


def _nowhere(name: str) -> Span:
    return Span(Source(name, ""), 0, 0)


def _refused(diagnostic: Diagnostic) -> SpecError:
    return SpecError([diagnostic])
