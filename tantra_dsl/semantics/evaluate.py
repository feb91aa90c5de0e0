"""What an expression means: numbers, modules and stacks at once, tensors as nodes of the frame's body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tantra_dsl.semantics.calls as calls
import tantra_dsl.semantics.references as references
import tantra_dsl.semantics.stacks as stacks
from tantra_dsl.diagnostics.semantics import BadArithmetic, CircularDefinition, TooLarge, UndefinedName, WrongType
from tantra_dsl.scalars.ir import Const, Op, Program, Scalar, ScalarOp, Var
from tantra_dsl.semantics.frame import Frame
from tantra_dsl.semantics.numbers import ArithmeticMistake, arithmetic, parse_number
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.values import (
    POISON,
    Combination,
    Function,
    InputType,
    Instance,
    LayerPath,
    Range,
    Stack,
    StackName,
    Sum,
    Symbol,
    Tensor,
    Value,
    describe,
    is_callable,
    is_number,
)  # fmt: skip
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import Span

MAX_PARTS = 200

TENSOR_OPS: dict[str, ScalarOp] = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "**": "pow",
    "//": "floordiv",
    "%": "mod",
}


def evaluate(expr: tree.Expr, scope: Scope, frame: Frame) -> Value:
    """The value of ``expr``; poison where it has none (which has been reported)."""
    frame.step(expr.span)
    return _HANDLERS[type(expr)](expr, scope, frame)


def force(thunk: Thunk, frame: Frame) -> Value:
    """The value of a thunk, reporting a definition that needs itself."""

    def cycle() -> Value:
        return frame.session.report(CircularDefinition(span=thunk.span, what="this value"))

    return thunk.value(evaluate, cycle)


def lookup(name: str, span: Span, scope: Scope, frame: Frame) -> Value:
    """The value of ``name``: the scope's, or else a fact of the model being built."""
    thunk = find(name, scope, frame)
    if thunk is not None:
        return force(thunk, frame)
    if name == "dim" and frame.dim is not None:
        return force(frame.dim, frame)
    visible = tuple(sorted(scope.visible() | (frame.session.model_scope or scope).visible()))
    return frame.session.report(UndefinedName(span=span, name=name, candidates=visible))


def find(name: str, scope: Scope, frame: Frame) -> Thunk | None:
    """The thunk of ``name`` in ``scope``, or among the facts of the model being built."""
    thunk = scope.find(name)
    if thunk is None and frame.session.model_scope is not None:
        thunk = frame.session.model_scope.find(name)
    return thunk or frame.session.defaults.get(name)


def _number(expr: tree.Number, scope: Scope, frame: Frame) -> Value:
    try:
        return parse_number(expr.text)
    except ArithmeticMistake as mistake:
        return frame.session.report(BadArithmetic(span=expr.span, reason=str(mistake)))


def _string(expr: tree.String, scope: Scope, frame: Frame) -> Value:
    return expr.value


def _name(expr: tree.Name, scope: Scope, frame: Frame) -> Value:
    return lookup(expr.id, expr.span, scope, frame)


def _list(expr: tree.ListExpr, scope: Scope, frame: Frame) -> Value:
    return _flat([evaluate(item, scope, frame) for item in expr.items], expr, frame)


def _tuple(expr: tree.Tuple, scope: Scope, frame: Frame) -> Value:
    values = [evaluate(item, scope, frame) for item in expr.items]
    if any(value is POISON for value in values):
        return POISON
    if all(is_callable(value) or isinstance(value, Stack) for value in values):
        return stacks.pattern(values, expr.span, frame)
    return _flat(values, expr, frame)


def _flat(values: list[Value], expr: tree.Expr, frame: Frame) -> Value:
    """A list; lists within lists mean nothing here, and could grow without bound."""
    if any(value is POISON for value in values):
        return POISON
    if any(isinstance(value, tuple) for value in values):
        return frame.session.report(WrongType(span=expr.span, wanted="single values", got="lists", where="a list"))
    return tuple(values)


def _definition(expr: tree.Definition, scope: Scope, frame: Frame) -> Value:
    return Function(expr.name or expr.kind, expr, scope=scope, span=expr.span)


def _unary(expr: tree.Unary, scope: Scope, frame: Frame) -> Value:
    value = evaluate(expr.operand, scope, frame)
    if value is POISON:
        return POISON
    if expr.op == "share":
        return stacks.share(value, expr.span, frame)
    if expr.op == "not":
        if isinstance(value, bool):
            return not value
        return _combination(expr, value, scope, frame, "a truth value")
    return _negate(value, expr, frame)


def _negate(value: Value, expr: tree.Unary, frame: Frame) -> Value:
    if is_number(value):
        return -value
    tensor = references.tensor(value, frame, expr.span)
    if tensor is POISON:
        return POISON
    return apply_map(Op("neg", (Var("a"),)), [tensor], expr.span, frame, "-")


def _combination(expr: tree.Expr, value: Value, scope: Scope, frame: Frame, wanted: str) -> Value:
    if isinstance(value, Combination) or (isinstance(value, Function) and value.kind in ("mask", "score")):
        return Combination(expr, scope, frame)
    return frame.session.report(WrongType(span=expr.span, wanted=wanted, got=describe(value)))


def _if(expr: tree.If, scope: Scope, frame: Frame) -> Value:
    condition = evaluate(expr.condition, scope, frame)
    if condition is POISON:
        return POISON
    if not isinstance(condition, bool):
        got = describe(condition)
        return frame.session.report(WrongType(span=expr.condition.span, wanted="a condition", got=got, where="`if`"))
    return evaluate(expr.then if condition else expr.otherwise, scope, frame)


def _binary(expr: tree.Binary, scope: Scope, frame: Frame) -> Value:
    if expr.op in ("and", "or", "then"):
        return _logic(expr, scope, frame)
    left = evaluate(expr.left, scope, frame)
    if expr.op == "|>":
        return stacks.pipe(left, expr, scope, frame)
    right = evaluate(expr.right, scope, frame)
    if left is POISON or right is POISON:
        return POISON
    return operate(expr, left, right, frame)


def _logic(expr: tree.Binary, scope: Scope, frame: Frame) -> Value:
    left = evaluate(expr.left, scope, frame)
    if left is POISON:
        return POISON
    if not isinstance(left, bool) or expr.op == "then":
        return _combination(expr, left, scope, frame, "a truth value")
    if left == (expr.op == "or"):
        return left
    right = evaluate(expr.right, scope, frame)
    if right is POISON or isinstance(right, bool):
        return right
    return _combination(expr, right, scope, frame, "a truth value")


def operate(expr: tree.Binary, left: Value, right: Value, frame: Frame) -> Value:
    """``left op right`` for values that are known not to be poison."""
    op, span = expr.op, expr.span
    if op in ("==", "!=") and not isinstance(left, Tensor) and not isinstance(right, Tensor):
        return same(left, right) == (op == "==")
    if is_number(left) and is_number(right):
        return _numbers(expr, left, right, frame)
    if op == "of":
        return stacks.repeat(left, right, expr, frame)
    if op == "*" and (is_callable(left) or isinstance(left, Stack)) and is_number(right):
        return stacks.times(left, right, expr, frame)
    if op == "+" and is_callable(left) and is_callable(right):
        return _sum(left, right, span, frame)
    return _tensors(expr, left, right, frame)


def _sum(left: Value, right: Value, span: Span, frame: Frame) -> Value:
    parts = [part for side in (left, right) for part in (side.parts if isinstance(side, Sum) else (side,))]
    if len(parts) > MAX_PARTS:
        return frame.session.report(TooLarge(span=span, what="this sum has too many parts", limit=f"{MAX_PARTS}"))
    return Sum(tuple(parts), span)


def _numbers(expr: tree.Binary, left: Value, right: Value, frame: Frame) -> Value:
    if expr.op == "..":
        if isinstance(left, int) and isinstance(right, int):
            return Range(left, right)
        return frame.session.report(WrongType(span=expr.span, wanted="whole numbers", got="fractions", where="a range"))
    if expr.op == "of":
        return frame.session.report(
            WrongType(
                span=expr.right.span,
                wanted="a block",
                got=describe(right),
                where="`of`",
                advice="write `12 of block { ... }`",
            )
        )
    try:
        return arithmetic(expr.op, left, right)
    except ArithmeticMistake as mistake:
        return frame.session.report(BadArithmetic(span=expr.span, reason=str(mistake)))


def _tensors(expr: tree.Binary, left: Value, right: Value, frame: Frame) -> Value:
    if not (references.is_tensor(left) or references.is_tensor(right)):
        got = f"{describe(left)} and {describe(right)}"
        wanted = "numbers, tensors or modules that fit together"
        return frame.session.report(WrongType(span=expr.span, wanted=wanted, got=got, where=f"`{expr.op}`"))
    if is_callable(left) or is_callable(right):
        left, right = _applied_beside(expr, left, right, frame)
    if expr.op == "@":
        return _matmul(expr, left, right, frame)
    if expr.op not in TENSOR_OPS:
        got = f"{describe(left)} and {describe(right)}"
        return frame.session.report(WrongType(span=expr.span, wanted="numbers", got=got, where=f"`{expr.op}`"))
    return tensor_arithmetic(TENSOR_OPS[expr.op], left, right, expr, frame)


def _applied_beside(expr: tree.Binary, left: Value, right: Value, frame: Frame) -> tuple[Value, Value]:
    """A module beside a tensor is applied to it: ``embed(source) + sinusoidal``."""
    if is_callable(left):
        stream = references.tensor(right, frame, expr.right.span)
        return calls.call_with(left, [stream], expr.left, frame), stream
    stream = references.tensor(left, frame, expr.left.span)
    return stream, calls.call_with(right, [stream], expr.right, frame)


def _matmul(expr: tree.Binary, left: Value, right: Value, frame: Frame) -> Value:
    operands = [references.tensor(left, frame, expr.left.span), references.tensor(right, frame, expr.right.span)]
    if any(operand is POISON for operand in operands):
        return POISON
    return frame.add("matmul", operands, expr.span, "`@`", transpose=False)


def tensor_arithmetic(op: ScalarOp, left: Value, right: Value, expr: tree.Binary, frame: Frame) -> Value:
    """Elementwise ``left op right`` where at least one side is a tensor; adding zero and the like is left out."""
    if _neutral(op, right) and not is_number(left):
        return references.tensor(left, frame, expr.left.span)
    if op in ("add", "mul") and _neutral(op, left) and not is_number(right):
        return references.tensor(right, frame, expr.right.span)
    operands: list[Tensor] = []
    sides: list[Scalar] = []
    for value, side in ((left, expr.left), (right, expr.right)):
        if is_number(value):
            sides.append(constant(value))
            continue
        tensor = references.tensor(value, frame, side.span)
        if tensor is POISON:
            return POISON
        sides.append(Var("ab"[len(operands)]))
        operands.append(tensor)
    return apply_map(Op(op, tuple(sides)), operands, expr.span, frame, f"`{expr.op}`")


def _neutral(op: ScalarOp, value: Value) -> bool:
    neutral = {"add": 0, "sub": 0, "mul": 1, "div": 1, "pow": 1}
    return is_number(value) and op in neutral and value == neutral[op]


def constant(value: Value) -> Const:
    """A number as a constant of a scalar program."""
    return Const(value if isinstance(value, int) else float(value))


def apply_map(body: Scalar, operands: list[Tensor], span: Span, frame: Frame, what: str, name: str = "") -> Value:
    """An elementwise node; the program's variables are ``a``, ``b``, ... in the order of operands."""
    variables = tuple("abcdefgh"[: len(operands)])
    program = Program("fn", variables, body, name=name)
    return frame.add("map", operands, span, what, program=program, arity=len(operands))


def same(left: Value, right: Value) -> bool:
    """Whether two compile-time values are equal; modules are when they are one definition without arguments."""
    if isinstance(left, Function) and isinstance(right, Function):
        one = left.definition is right.definition and left.primitive is right.primitive
        return one and not left.arguments and not right.arguments
    if isinstance(left, Symbol) and isinstance(right, Function):
        return left.name in (right.name, right.choice) and not right.arguments
    if isinstance(left, Function) and isinstance(right, Symbol):
        return same(right, left)
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return bool(left == right)


def _index(expr: tree.Index, scope: Scope, frame: Frame) -> Value:
    base = evaluate(expr.base, scope, frame)
    items = [evaluate(item, scope, frame) for item in expr.items]
    if base is POISON or any(item is POISON for item in items):
        return POISON
    if isinstance(base, StackName):
        return references.layer(base, items, expr, frame)
    if isinstance(base, Symbol | InputType):
        return input_type(base.name if isinstance(base, Symbol) else base.kind, items, expr, frame)
    if isinstance(base, tuple) and len(items) == 1 and isinstance(items[0], int):
        if -len(base) <= items[0] < len(base):
            return base[items[0]]
        return frame.session.report(
            BadArithmetic(span=expr.span, reason=f"there is no element {items[0]} among {len(base)}")
        )
    advice = (
        "use select(x; index) or slice(x; start, stop) to take part of a tensor" if isinstance(base, Tensor) else ""
    )
    return frame.session.report(
        WrongType(
            span=expr.base.span, wanted="a list or a stack of layers", got=describe(base), where="`[ ]`", advice=advice
        )
    )


def input_type(name: str, items: list[Value], expr: tree.Index, frame: Frame) -> Value:
    """The type of an input: its kind with its figures, ``pixels[3, 224, 224]``."""
    if any(item is POISON for item in items):
        return POISON
    wrong = next((n for n in items if not isinstance(n, int) or isinstance(n, bool) or not 0 < n < 10**9), None)
    if wrong is None:
        return InputType(name, tuple(items))
    return frame.session.report(
        WrongType(span=expr.span, wanted="positive whole numbers", got=describe(wrong), where=f"`{name}`")
    )


def _attribute(expr: tree.Attribute, scope: Scope, frame: Frame) -> Value:
    base = evaluate(expr.base, scope, frame)
    if base is POISON:
        return POISON
    if isinstance(base, Instance | references.InstancePath | LayerPath):
        return references.attribute(base, expr.name)
    return frame.session.report(
        WrongType(span=expr.base.span, wanted="a shared module or a layer", got=describe(base), where=f"`.{expr.name}`")
    )


def _call(expr: tree.Call, scope: Scope, frame: Frame) -> Value:
    callee = evaluate(expr.callee, scope, frame)
    if isinstance(callee, Tensor) and isinstance(expr.callee, tree.Name):
        callee = references.beyond_tensors(expr.callee.id, scope, callee)
    if callee is POISON:
        return POISON
    return calls.call(callee, calls.bound(expr, scope, frame), expr, frame)


_HANDLERS: dict[type, Callable[[Any, Scope, Frame], Value]] = {
    tree.Number: _number, tree.String: _string, tree.Name: _name, tree.ListExpr: _list, tree.Tuple: _tuple,
    tree.Definition: _definition, tree.Unary: _unary, tree.If: _if, tree.Binary: _binary, tree.Index: _index,
    tree.Attribute: _attribute, tree.Call: _call,
}  # fmt: skip
