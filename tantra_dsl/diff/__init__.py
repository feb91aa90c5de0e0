"""What is different between two models: operations, costs and weights, and a spec that turns one into the other.

``diff`` compares, ``patch`` and ``applied`` go from the one to the other, ``explain`` tells where a value comes from.
"""

from typing import TYPE_CHECKING, Any

# The modules of elaboration import each other; this is the one that may be first.
import tantra_dsl.semantics.evaluate  # noqa: F401

if TYPE_CHECKING:
    from tantra_dsl.diff.documents import document
    from tantra_dsl.diff.origins import Origin, explain
    from tantra_dsl.diff.patches import Patch, applied, patch
    from tantra_dsl.diff.report import Diff, diff

__all__ = ["Diff", "Origin", "Patch", "applied", "diff", "document", "explain", "patch"]

_HOMES = {
    "Diff": "report", "diff": "report", "Patch": "patches", "applied": "patches", "patch": "patches",
    "Origin": "origins", "explain": "origins", "document": "documents",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Loads a part where it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
