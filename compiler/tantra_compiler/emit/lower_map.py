"""How scalar maps are written: infix where they are short, else as a function of their own."""

from __future__ import annotations

from tantra_compiler.emit.builtins import match_builtin
from tantra_compiler.emit.expr import Expr, call
from tantra_compiler.emit.formulas import Formula
from tantra_compiler.emit.programs import occurrences
from tantra_compiler.emit.site import Site, lowers
from tantra_dsl.scalars.ir import Const, Gather, Op, Program, Scalar
from tantra_dsl.scalars.simplify import simplify
from tantra_dsl.scalars.walk import fold

_INLINE = frozenset({"add", "sub", "mul", "div", "neg", "pow", "tanh", "sigmoid", "softplus", "exp", "sqrt"})
_LONGEST = 5


@lowers("map")
def _map(site: Site) -> Expr:
    program: Program = site.node.attr("program")
    arity = site.node.attr("arity")
    body = simplify(program.body)
    operands = dict(zip(program.variables, site.args[:arity], strict=True))
    if _reads_well(program, body, operands):
        return Formula(operands, builtins=True).expr(body)
    return call(site.program(program), *site.args)


def _reads_well(program: Program, body: Scalar, operands: dict[str, Expr]) -> bool:
    """Whether ``body`` is best written in place: a torch function, or short arithmetic that repeats no work."""
    if program.captures or isinstance(body, Const):
        return False
    found = match_builtin(body)
    if found is not None:
        body = found[1]
    counts = occurrences(body)
    repeats = any(count > 1 and not operands[name].simple for name, count in counts.items())
    return not repeats and _operations(body) <= _LONGEST


def _operations(body: Scalar) -> int:
    """How many operations ``body`` takes; more than enough where one of them is better read under a name."""

    def count(node: Scalar, parts: list[int]) -> int:
        if isinstance(node, Gather):
            return _LONGEST + 1
        if not isinstance(node, Op):
            return 0
        found = match_builtin(node)
        own = 1 if found is not None or node.op in _INLINE else _LONGEST + 1
        return own + (0 if found is not None else sum(parts))

    return fold(body, count)
