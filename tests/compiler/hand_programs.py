"""Scalar programs for hand-built graphs."""

from __future__ import annotations

import math

from tantra_dsl.scalars.ir import Capture, Const, Gather, Op, Program, Scalar, Var


def scalar(value: Scalar | float | bool | str) -> Scalar:
    if isinstance(value, str):
        return Var(value)
    return Const(value) if isinstance(value, int | float) else value


def op(name: str, *args: Scalar | float | bool | str) -> Op:
    return Op(name, tuple(map(scalar, args)))  # type: ignore[arg-type]


def fn(body: Scalar, *variables: str, name: str = "") -> Program:
    return Program("fn", variables, body, name=name)


def mask(body: Scalar, *captures: Capture, name: str = "") -> Program:
    return Program("mask", ("b", "h", "q", "k"), body, captures, name)


def score(body: Scalar, *captures: Capture, name: str = "") -> Program:
    return Program("score", ("s", "b", "h", "q", "k"), body, captures, name)


ADD = fn(op("add", "x", "y"), "x", "y", name="x + y")
MUL = fn(op("mul", "x", "y"), "x", "y", name="x * y")
ONE_PLUS = fn(op("mul", "x", op("add", 1, "w")), "x", "w", name="x * (1 + w)")
RELU = fn(op("max", "x", 0), "x", name="relu")
SIGMOID = fn(op("sigmoid", "x"), "x", name="sigmoid")
SILU = fn(op("mul", "x", op("sigmoid", "x")), "x", name="silu")
GELU = fn(op("mul", 0.5, "x", op("add", 1, op("erf", op("div", "x", math.sqrt(2))))), "x", name="gelu")
GELU_TANH = fn(
    op(
        "mul",
        0.5,
        "x",
        op("add", 1, op("tanh", op("mul", 0.7978845608, op("add", "x", op("mul", 0.044715, op("pow", "x", 3)))))),
    ),
    "x",
    name="gelu_tanh",
)
RELU2 = fn(op("pow", op("max", "x", 0), 2), "x", name="relu2")
QUICK_GELU = fn(op("mul", "x", op("sigmoid", op("mul", 1.702, "x"))), "x", name="quick_gelu")

CAUSAL_BODY = op("le", "k", "q")
CAUSAL = mask(CAUSAL_BODY, name="causal")


def window(width: int) -> Program:
    return mask(op("and", CAUSAL_BODY, op("lt", op("sub", "q", "k"), width)), name=f"causal and window({width})")


def softcap(cap: float) -> Program:
    return score(op("mul", cap, op("tanh", op("div", "s", cap))), name=f"softcap({cap})")


def alibi(heads: int) -> Program:
    slope = op("pow", 2, op("div", op("mul", -8, op("add", "h", 1)), heads))
    return score(op("sub", "s", op("mul", slope, op("sub", "q", "k"))), name="alibi")


def rope_frequency(theta: float, width: int) -> Program:
    return Program("frequency", ("j",), op("pow", theta, op("div", op("mul", -2, "j"), width)), name=f"rope({theta})")


DOCUMENT = Capture("doc", integer=True)


def same_document() -> Program:
    same = op("eq", Gather(0, (Var("b"), Var("q"))), Gather(0, (Var("b"), Var("k"))))
    return mask(op("and", CAUSAL_BODY, same), DOCUMENT, name="causal and same_document")


def fields_mask(names: tuple[str, ...]) -> Program:
    """Causal, and every field the same at query and key."""
    body: Scalar = CAUSAL_BODY
    for number in range(len(names)):
        read = [Gather(number, (Var("b"), Var(place))) for place in "qk"]
        body = op("and", body, op("eq", *read))
    return mask(body, *(Capture(name, integer=True) for name in names))


SINUSOIDAL = Program(
    "table",
    ("p", "c"),
    op(
        "where",
        op("eq", op("mod", "c", 2), 0),
        op("sin", op("div", "p", op("pow", 10_000, op("div", "c", "width")))),
        op("cos", op("div", "p", op("pow", 10_000, op("div", op("sub", "c", 1), "width")))),
    ),
    name="sinusoidal",
)
