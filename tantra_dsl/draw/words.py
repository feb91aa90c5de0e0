"""Sizes, programs and types in the words of a diagram."""

from __future__ import annotations

import re
from typing import Final

from tantra_dsl.graph.model import Node
from tantra_dsl.graph.types import TensorType
from tantra_dsl.scalars.format import format_scalar
from tantra_dsl.scalars.ir import Const, Op, Program, Scalar, Var
from tantra_dsl.scalars.walk import children

SHORT: Final = 60
"""Characters of a resolved program that are shown rather than a name that leaves something open."""
_PLAIN: Final = frozenset({"q", "k", "h", "b", "s", "and", "or", "not", "then", "true", "false", "none"})
LONG: Final = 90
"""Characters of a program that are shown; the rest is cut."""


def number(size: str) -> str:
    """A size with its thousands set apart: ``50,257``; what is no number stays."""
    return f"{int(size):,}" if size.isdigit() else size


def program_text(program: Program) -> str:
    """A program as its author wrote it where that says all; else resolved, if that is short. What is long is cut."""
    text = " ".join(program.name.split())
    if not _says_all(text, program):
        resolved = format_scalar(program.body, program.captures)
        text = resolved if not text or len(resolved) <= SHORT else text
    return text if len(text) <= LONG else f"{text[: LONG - 2].rstrip()} …"


def _says_all(text: str, program: Program) -> bool:
    """Whether a program's name has no words that are to be looked up elsewhere, such as a parameter's."""
    if not text or re.search(r"\b(if|fn)\b", text):
        return False
    fields = {capture.name for capture in program.captures}
    given = [word for inside in re.findall(r"\(([^()]*)\)", text) for word in re.findall(r"[^\W\d]\w*(?!\w*:)", inside)]
    return all(word in fields or word in _PLAIN for word in given)


def heads_text(q: TensorType, k: TensorType, v: TensorType) -> str:
    """``8 heads of 256, 4 kv heads``; where values are of another width, that as well."""
    heads, kv = (_size(type, "heads") for type in (q, k))
    width, values = _size(q, ""), _size(v, "")
    text = f"{_plural(heads, 'head')} of {width}"
    text += f", {_plural(kv, 'kv head')}" if kv != heads else ""
    return text + (f", values of {values}" if values != width else "")


def _size(type: TensorType, axis: str) -> str:
    place = type.axis(axis) if axis else -1
    return "1" if place is None else number(str(type.dims[place].size))


def _plural(count: str, word: str) -> str:
    return f"{count} {word}" if count == "1" else f"{count} {word}s"


def sizes_text(type: TensorType) -> str:
    """``50,257 × 768``."""
    return " × ".join(number(str(dim.size)) for dim in type.dims) or "one number"


def type_text(type: TensorType) -> str:
    """``batch × time``; a dimension of known size by its size."""
    return " × ".join(number(str(d.size)) if d.size.known is not None else d.name for d in type.dims) or "one number"


def rope_text(node: Node) -> str:
    """``rope θ 10,000``, with what was done to its wavelengths."""
    program: Program = node.attr("frequency")
    base = _base(program.body)
    text = "rope" if base is None else f"rope θ {base:,.0f}" if base == round(base) else f"rope θ {base:g}"
    width, head = node.attr("width"), node.type.dims[-1].size.known
    text += f" on {width} of {head}" if width != head else ""
    return text + _stretched(program.body)


def _base(expr: Scalar) -> float | None:
    """The number whose power the frequencies are."""
    left = [expr]
    while left:
        node = left.pop(0)
        if isinstance(node, Op) and node.op == "pow" and isinstance(node.args[0], Const):
            return float(node.args[0].value)
        left += children(node)
    return None


def _stretched(expr: Scalar) -> str:
    if isinstance(expr, Op) and expr.op == "pow":
        return ""
    if isinstance(expr, Op) and expr.op == "div" and isinstance(expr.args[1], Const):
        return f" / {expr.args[1].value:g}"
    return ", scaled"


def map_sign(program: Program, moving: frozenset[int]) -> str:
    """``+``, ``−``, ``×`` or ``÷`` where a function of two operands that both change is only that; else empty."""
    body = program.body
    if isinstance(body, Op) and len(body.args) == 2 and all(isinstance(arg, Var) for arg in body.args):
        names = [program.variables.index(arg.name) for arg in body.args if isinstance(arg, Var)]
        if set(names) == moving and len(moving) == 2:
            return {"add": "+", "sub": "−", "mul": "×", "div": "÷"}.get(body.op, "")
    return ""


def map_text(program: Program, names: list[str]) -> str:
    """A function with ``names`` for its operands, the one that changes being empty: ``× own``, ``tanh``, ``1 − ·``."""
    body = program.body
    if program.name:
        return program_text(program)
    scale = _scale(body, dict(zip(program.variables, names, strict=False)))
    if scale:
        return f"× {scale}"
    said = Program(program.kind, program.variables, _renamed(body, dict(zip(program.variables, names, strict=False))))
    return program_text(said)


def _scale(body: Scalar, names: dict[str, str]) -> str:
    """What a changing operand is multiplied by, where that is all."""
    if not isinstance(body, Op) or body.op not in ("mul", "div"):
        return ""
    texts = [names.get(a.name, "") if isinstance(a, Var) else _constant(a) for a in body.args]
    if body.op == "div":
        return f"1 / {texts[1]}" if not texts[0] and texts[1] else ""
    return texts[0] or texts[1] if bool(texts[0]) != bool(texts[1]) else ""


def _constant(expr: Scalar) -> str:
    return f"{expr.value:.4g}" if isinstance(expr, Const) and not isinstance(expr.value, bool) else ""


def _renamed(expr: Scalar, names: dict[str, str]) -> Scalar:
    if isinstance(expr, Var):
        return Var(names.get(expr.name) or "x")
    if isinstance(expr, Op):
        return Op(expr.op, tuple(_renamed(arg, names) for arg in expr.args))
    return expr
