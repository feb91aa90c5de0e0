"""Stable names for weights: from labels, variables and roles, never from order.

Within one equation, each occurrence that may hold weights gets a name:

- the only one takes the variable's name; in a ``return`` a projection is called ``out``, a module goes by its own;
- among several, the only projection (``linear``, ``param`` ...) takes the variable's name and a module adds its
  own: ``q_down_rms``;
- an equation for several variables names its projection after all of them: ``q_nope_q_rope``;
- where two would still be called the same, what each is applied to tells them apart: ``qk_norm_q``, ``qk_norm_k``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tantra_dsl.semantics.scope import Scope
from tantra_dsl.semantics.values import Function, Instance, Sum, Tensor
from tantra_dsl.syntax import tree


@dataclass(frozen=True)
class Site:
    """An occurrence that may hold weights: its node, its callee (a projection or not), what that is applied to."""

    node: tree.Node
    callee: str
    projection: bool
    applied_to: str
    branches: tuple[tuple[int, bool], ...] = ()

    def excludes(self, other: Site) -> bool:
        """Whether the two stand in different branches of one ``if``, so that only one of them is ever built."""
        mine = dict(self.branches)
        return any(mine.get(condition, branch) != branch for condition, branch in other.branches)


def assign(
    exprs: tuple[tree.Expr, ...], targets: tuple[str, ...], scope: Scope, taken: set[str], prefix: str = ""
) -> dict[int, str]:
    """Name for each occurrence in an equation, keyed by ``id`` of its tree node."""
    sites = [site for expr in exprs for site in _sites(expr, scope)]
    names = [_first_choice(site, sites, targets, taken, prefix) for site in sites]
    named = list(zip(sites, names, strict=True))

    def clashes(site: Site, name: str) -> bool:
        return any(other is not site and name == another and not site.excludes(other) for other, another in named)

    return {
        id(site.node): f"{prefix}{site.callee}_{site.applied_to}" if site.applied_to and clashes(site, name) else name
        for site, name in named
    }


def _first_choice(site: Site, sites: list[Site], targets: tuple[str, ...], taken: set[str], prefix: str) -> str:
    own = prefix + site.callee
    beside = [other for other in sites if other is not site and not site.excludes(other)]
    sole_projection = site.projection and not any(other.projection for other in beside)
    if not targets:
        return prefix + "out" if sole_projection else own
    target = "_".join(targets)
    if len(targets) > 1:
        return prefix + target if sole_projection else own
    if (not beside or sole_projection) and prefix + target not in taken:
        return prefix + target
    return f"{prefix}{target}_{site.callee}"


def _sites(expr: tree.Expr, scope: Scope) -> Iterator[Site]:
    """Occurrences in ``expr``, inner ones first."""
    if isinstance(expr, tree.Call):
        for argument in expr.arguments:
            yield from _sites(argument.value, scope)
        yield from _call_site(expr, scope)
    elif isinstance(expr, tree.Binary):
        yield from _binary_sites(expr, scope)
    elif isinstance(expr, tree.Unary):
        yield from _sites(expr.operand, scope)
    elif isinstance(expr, tree.If):
        for branch, taken in ((expr.then, True), (expr.otherwise, False)):
            for site in _sites(branch, scope):
                yield replace(site, branches=(*site.branches, (id(expr), taken)))
    elif isinstance(expr, tree.ListExpr | tree.Tuple):
        for item in expr.items:
            yield from _sites(item, scope)


def _binary_sites(expr: tree.Binary, scope: Scope) -> Iterator[Site]:
    yield from _sites(expr.left, scope)
    if expr.op == "|>":
        yield Site(expr, "layers", False, _head(expr.left))
        return
    yield from _sites(expr.right, scope)
    for side in (expr.left, expr.right):
        if isinstance(side, tree.Name) and _weighted(side.id, scope, known_only=True):
            yield Site(side, side.id, False, "")


def _call_site(expr: tree.Call, scope: Scope) -> Iterator[Site]:
    if isinstance(expr.callee, tree.Name) and _weighted(expr.callee.id, scope, known_only=False):
        applied_to = _head(expr.arguments[0].value) if expr.arguments and expr.arguments[0].name is None else ""
        yield Site(expr, expr.callee.id, _projection(expr.callee.id, scope), applied_to)


def _value(name: str, scope: Scope) -> tuple[bool, object]:
    thunk = scope.find(name)
    if thunk is None or not thunk.known:
        return False, None
    return True, thunk.value(_never, _never)


def _never(*_: object) -> object:
    raise AssertionError


def _weighted(name: str, scope: Scope, known_only: bool) -> bool:
    """Whether a call of ``name`` may hold weights of its own, judged by what it is, not by how it is set up."""
    known, value = _value(name, scope)
    if not known:
        return not known_only and scope.find(name) is not None
    if isinstance(value, Function):
        if value.primitive is not None:
            return value.primitive.weighted
        return value.kind in ("module", "block", "wiring")
    return isinstance(value, Sum) or (value is None and not known_only and not isinstance(value, Instance | Tensor))


def _projection(name: str, scope: Scope) -> bool:
    known, value = _value(name, scope)
    return known and isinstance(value, Function) and value.primitive is not None


def _head(expr: tree.Expr) -> str:
    """The word that stands for an expression: the variable, or what it calls."""
    if isinstance(expr, tree.Name):
        return expr.id
    if isinstance(expr, tree.Call):
        return _head(expr.callee)
    if isinstance(expr, tree.Attribute):
        return expr.name
    if isinstance(expr, tree.Binary):
        return _head(expr.left)
    return ""
