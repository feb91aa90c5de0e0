"""Names in emitted source: valid, free, and as close to the spec's as can be."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

from torch import nn

_USED = frozenset({"self", "torch", "nn", "F", "math", "Tensor", "NamedTuple", "ClassVar", "cache", "Cache", "layer"})
_BUILTINS = frozenset({"abs", "float", "isinstance", "super", "tuple", "dict", "range", "str", "int", "ValueError"})
RESERVED = frozenset(keyword.kwlist) | _USED | _BUILTINS
"""Names that no variable of emitted source may take."""

BUILTINS = frozenset(dir(builtins))
"""Names that nothing at the level of a module may take."""

_OWN = frozenset({
    "inits", "no_decay", "forward", "loss", "trunk", "spec_name", "spec_hash", "cacheable", "new_cache", "init_weights",
})  # fmt: skip
MODULE_ATTRIBUTES = frozenset(dir(nn.Module)) | frozenset(nn.Module().__dict__) | _OWN
"""Names that mean something else on a module, so that a child of that name is reached another way."""


def identifier(text: str) -> str:
    """``text`` as a Python name: other characters become underscores."""
    name = re.sub(r"\W+", "_", text).strip("_") or "value"
    return f"_{name}" if name[0].isdigit() else name


def class_name(text: str) -> str:
    """``text`` in CamelCase."""
    name = ""
    for part in filter(None, identifier(text).split("_")):
        name += ("_" if name[-1:].isdigit() and part[0].isdigit() else "") + part[0].upper() + part[1:]
    name = name or "Block"
    return f"{name}_" if keyword.iskeyword(name) or hasattr(builtins, name) else name


def free(wanted: str, taken: Iterable[str]) -> str:
    """``wanted``, or with a number behind it where that is taken; a reserved word gets an underscore."""
    name = f"{wanted}_" if wanted in RESERVED else wanted
    taken = set(taken)
    number = 2
    base = name
    while name in taken:
        joint = "" if base[0].isupper() and not base[-1].isdigit() else "_"
        name, number = f"{base.rstrip('_')}{joint}{number}", number + 1
    return name


def program_name(text: str, kind: str) -> str:
    """A name for a scalar program: from its text where that reads as names and numbers, else its kind."""
    words = re.findall(r"[A-Za-z_]\w*|\d[\d_]*(?:\.\d+)?", text)
    plain = re.fullmatch(r"[\w\s(),.:]+", text.strip()) is not None
    name = "_".join(word.replace(".", "_").lower() for word in words)
    if not plain or not name or name[0].isdigit() or len(name) > 48:
        return {"fn": "function", "frequency": "rope_frequency"}.get(kind, kind)
    return re.sub(r"_+", "_", name).strip("_")
