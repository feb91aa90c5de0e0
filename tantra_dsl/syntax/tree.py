"""The syntax tree: one tree for ``.tantra`` text and for YAML.

Every node is frozen and carries a span that takes no part in equality, so two spellings of
one spec compare equal. Nothing here knows what a name means; that is ``semantics``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tantra_dsl.syntax.source import NOWHERE, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Base of all nodes: knows where it was written."""

    span: Span = field(default=NOWHERE, compare=False, repr=False)


# --- expressions -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A number literal. ``text`` is canonical: ``50_257``, ``1e-6``, ``50M``, ``0.5``."""

    text: str


@dataclass(frozen=True, slots=True)
class String(Node):
    """A quoted string; ``value`` has its escapes resolved."""

    value: str


@dataclass(frozen=True, slots=True)
class Name(Node):
    """An identifier, ``true``, ``false`` and ``none`` included."""

    id: str


@dataclass(frozen=True, slots=True)
class ListExpr(Node):
    """``[a, b, c]``."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Tuple(Node):
    """``(a, b)``: a pattern of blocks. A parenthesised single expression is that expression."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """``-x``, ``not x`` or ``share x`` (one set of weights wherever the value is used)."""

    op: Literal["-", "not", "share"]
    operand: Expr


BinaryOp = Literal[
    "|>", "of", "then", "or", "and", "==", "!=", "<", "<=", ">", ">=", "..",
    "+", "-", "*", "/", "//", "%", "@", "**",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """A binary operation. Precedence, loosest first, is the order in ``BinaryOp``'s rows below.

    ``|>``; ``of``; ``then``; ``or``; ``and``; (``not``); comparisons (do not chain); ``..``;
    ``+ -``; ``* / // % @``; unary ``-``; ``**`` (right-associative); postfix.
    """

    op: BinaryOp
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class If(Node):
    """``if condition then a else b``; binds looser than every operator."""

    condition: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class Index(Node):
    """``base[i, j]``: ``doc[q]``, ``pixels[3, 224, 224]``, ``outputs[0..i]``."""

    base: Expr
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Attribute(Node):
    """``base.name``: ``embed.weight``, ``layers[i - 1].attention.k``."""

    base: Expr
    name: str


@dataclass(frozen=True, slots=True)
class Argument(Node):
    """One argument of a call. ``name`` is None, or a dotted path (``attention.heads``).

    ``hyper`` is True for what is written after the ``;`` of a parenthesised call.
    """

    name: str | None
    value: Expr
    hyper: bool = False


@dataclass(frozen=True, slots=True)
class Call(Node):
    """``callee(args)`` or ``callee { args }``; ``braces`` keeps which was written.

    Both mean the same. In a brace call ``label: value`` is a named argument and a bare value a
    positional one; ``hyper`` is False throughout.
    """

    callee: Expr
    arguments: tuple[Argument, ...]
    braces: bool = False


# --- members ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry(Node):
    """``path: value``: sets a key, labels a sublayer, or overrides by path."""

    path: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Item(Node):
    """A bare expression as a member: an unlabelled sublayer, or a section such as ``train { }``."""

    value: Expr


@dataclass(frozen=True, slots=True)
class Let(Node):
    """``let name: value`` (``=`` is accepted too)."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Share(Node):
    """``share name: value``: one set of weights that every mention of ``name`` uses."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Input(Node):
    """``input name: type``."""

    name: str
    type: Expr


@dataclass(frozen=True, slots=True)
class Assign(Node):
    """``a, b = value``: an equation."""

    targets: tuple[str, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class Return(Node):
    """``return a, b``; one value unless several are listed."""

    values: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Expect(Node):
    """``expect condition``."""

    condition: Expr


@dataclass(frozen=True, slots=True)
class Remove(Node):
    """``remove path``: takes away what ``extends`` brought."""

    path: str


@dataclass(frozen=True, slots=True)
class Use(Node):
    """``use "file.tantra"`` or ``use "gpt2"`` (a shipped spec)."""

    path: str


@dataclass(frozen=True, slots=True)
class Parameter(Node):
    """A parameter of a definition: ``heads``, ``heads: int``, ``eps = 1e-5``, ``form: a | b = a``.

    ``choices`` holds the names after the colon: one for a type, several for an enumeration.
    """

    name: str
    choices: tuple[str, ...] = ()
    default: Expr | None = None


Kind = Literal["model", "block", "module", "wiring", "mask", "score", "fn"]


@dataclass(frozen=True, slots=True)
class Body(Node):
    """The members between a definition's braces."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Definition(Node):
    """``kind name(inputs; params) extends base = expression`` or ``... { body }``.

    Tensor inputs (or, for masks, scores and fns, the scalar arguments) come before ``;``; hyper-parameters after.
    ``inputs`` is None where no parenthesis was written. A ``block { }`` or ``fn(x) = e`` without
    a name is an expression.
    """

    kind: Kind
    name: str | None
    inputs: tuple[Parameter, ...] | None
    params: tuple[Parameter, ...]
    extends: Expr | None
    body: Body | Expr
    name_span: Span = field(default=NOWHERE, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class File(Node):
    """A whole source: its definitions, uses and lets, in order."""

    members: tuple[Member, ...]


Expr = Number | String | Name | ListExpr | Tuple | Unary | Binary | If | Index | Attribute | Call | Definition
Member = Entry | Item | Let | Share | Input | Assign | Return | Expect | Remove | Use | Definition
