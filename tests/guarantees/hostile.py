"""Specs that try to take more time or memory than they deserve; ``HOSTILE`` gives the text and the codes of each."""

from __future__ import annotations

from tests.guarantees.components import model


def chain(first: str, step: str, count: int = 40) -> str:
    """``first``, then ``step`` for each number ``@`` from 1 with ``<`` for the one before."""
    return "\n".join([first, *(step.replace("@", str(n)).replace("<", str(n - 1)) for n in range(1, count + 1))])


def sublayer(text: str, definitions: str = "", facts: str = "") -> str:
    """The tiny model with this sublayer."""
    return model(sublayer=text, definitions=definitions, facts=facts)


def layers(text: str, definitions: str = "", facts: str = "") -> str:
    """The tiny model with these layers."""
    whole = model(definitions=definitions, facts=facts)
    start, end = whole.index("  layers:"), whole.index("  final_norm:")
    return f"{whole[:start]}  layers: {text}\n{whole[end:]}"


def hidden(expression: str, definitions: str = "", facts: str = "") -> str:
    """The tiny model with this number of hidden units."""
    return sublayer(f"ffn {{ hidden: {expression} }}", definitions, facts)


def masked(text: str, definitions: str = "", facts: str = "") -> str:
    """The tiny model with this mask."""
    return sublayer(f"attention {{ heads: 2, mask: {text} }}", definitions, facts)


LAYER = "block layer {\n  wiring: residual\n  ffn { hidden: @ }\n}"

NUMBERS = {
    "a start of a billion numbers": (sublayer("p: conv1d(3, init: each(j + 1, 10**9))"), ["T0301"]),
    "ten to the four hundredth": (hidden("10 ** 400"), ["T0102"]),
    "an exponent beyond floats": (hidden("1e400"), ["S0107"]),
    "a number of a hundred thousand digits": (hidden("9" * 100_000), ["S0107"]),
    "a tower of powers": (hidden("9 ** 9 ** 9 ** 9"), ["T0102"]),
    "infinity minus infinity": (hidden("1e308 * 10 - 1e308 * 10"), ["T0102", "T0102"]),
    "division by zero": (hidden("1 / (2 - 2)"), ["T0102"]),
    "remainder by zero": (hidden("4 % 0"), ["T0102"]),
    "zero to a negative power": (hidden("0 ** -1"), ["T0102"]),
    "the logarithm of a negative number": (hidden("log(-1)"), ["T0102"]),
    "the root of a negative number": (hidden("sqrt(-4)"), ["T0102"]),
    "a negative width": (hidden("-4"), ["T0101"]),
    "a fraction of a width": (hidden("dim / 3"), ["T0101"]),
    "a width of ten to the twelfth": (hidden("10 ** 12"), ["T0101"]),
    "a stream of ten to the twelfth": (model().replace("dim: 16", "dim: 10 ** 12"), ["T0101"]),
    "an index beyond a list": (hidden("sizes[7]", facts="let sizes: [1, 2]"), ["T0102"]),
    "factorial of a thousand": (hidden("f(1000)", "fn f(n) = if n < 1 then 1 else n * f(n - 1)"), ["N0102"]),
}

DEPTH = {
    "brackets": (hidden("(" * 100_000 + "4" + ")" * 100_000), ["S0114"]),
    "calls": (hidden("min(" * 100_000 + "4" + ")" * 100_000), ["S0114"]),
    "lists": (hidden("[" * 100_000 + "4" + "]" * 100_000), ["S0114"]),
    "blocks": (layers("2 of block { " + "inner { " * 100_000 + "}" * 100_001), ["S0114"]),
    "signs": (hidden("-" * 100_000 + "4"), ["S0114"]),
    "negations": (masked("not " * 100_000 + "causal"), ["S0114"]),
    "choices": (hidden("if true then " * 20_000 + "4" + " else 3" * 20_000), ["S0114"]),
    "a sum": (hidden("+".join(["1"] * 50_000)), ["S0114"]),
    "scores": (sublayer("attention { heads: 2, score: " + " then ".join(["alibi"] * 20_000) + " }"), ["S0114"]),
}

LAYERS = {
    "a million layers": (layers("1_000_000 of layer", LAYER.replace("@", "4")), ["T0301"]),
    "layers times layers": (layers("((layer * 1000) * 1000) * 1000", LAYER.replace("@", "4")), ["T0301"]),
    "a pattern of many layers": (layers("(layer * 9000, layer * 9000)", LAYER.replace("@", "4")), ["T0301"]),
    "ten thousand different layers": (layers("10_000 of layer", LAYER.replace("@", "4 + i")), ["T0301"]),
    "ten thousand masks": (
        layers("10_000 of layer", "block layer {\n  attention { heads: 2, mask: causal and window(i + 1) }\n}"),
        ["T0301"],
    ),
    "every layer reads every other": (
        layers("5_000 of layer", "block layer(x) = x + pool(outputs[0..i], sum, axis: depth)"),
        ["T0301"],
    ),
    "layers far away": (layers("4 of layer", "block layer(x) = x + pool(outputs[0..10 ** 8], axis: depth)"), ["T0102"]),
}

GROWTH = {
    "modules that call twice": (
        sublayer("f40", chain("module f0(x) = linear(x, dim)", "module f@(x) = f<(f<(x))")),
        ["T0301"],
    ),
    "functions that call twice": (
        sublayer("ffn { hidden: 4, activation: f40 }", chain("fn f0(x) = x * 2", "fn f@(x) = f<(x) + f<(x)")),
        ["T0301"],
    ),
    "functions of functions": (
        sublayer("ffn { hidden: 4, activation: f40 }", chain("fn f0(x) = x * x", "fn f@(x) = f<(f<(x))")),
        ["T0301"],
    ),
    "a number by functions": (hidden("f40(1)", chain("fn f0(x) = x", "fn f@(x) = f<(x) + f<(x)")), ["T0301"]),
    "masks of two masks": (masked("f40", chain("mask f0 = k <= q", "mask f@ = f< and f<")), ["T0301"]),
    "masks with arguments": (
        masked("f40(1)", chain("mask f0(a) = k <= q - a", "mask f@(a) = f<(a + 1) or f<(a + 2)")),
        ["T0301"],
    ),
    "lets of masks": (masked("l40", facts=chain("let l0: causal", "let l@: l< and l<")), ["T0301"]),
    "lets of conditions": (masked("if l40 > 0 then causal else all", facts=chain("let l0: 1", "let l@: l< + l<")), []),
    "lists of lists": (hidden("l40", facts=chain("let l0: [1]", "let l@: [l<, l<]")), ["T0101"]),
    "patterns of patterns": (
        layers("l40", LAYER.replace("@", "4"), chain("let l0: (layer, layer)", "let l@: (l<, l<)")),
        ["T0301"],
    ),
    "sums of sums": (
        model(embed="l40", facts=chain("let l0: tokens + sinusoidal", "let l@: l< + l<")),
        ["T0301"],
    ),
    "parameters given on": (
        sublayer("m40(a: 1)", chain("module m0(x; a) = linear(x, dim) * a", "module m@(x; a) = m<(x; a: a + a)")),
        [],
    ),
}

CIRCLES = {
    "a module": (sublayer("m", "module m(x) = m(x)"), ["N0102"]),
    "two modules": (sublayer("m", "module m(x) = n(x)\nmodule n(x) = m(x)"), ["N0102"]),
    "a block": (sublayer("m", "block m {\n  wiring: residual\n  m\n}"), ["N0102"]),
    "two functions": (
        sublayer("ffn { hidden: 4, activation: f }", "fn f(x) = g(x) + g(x)\nfn g(x) = f(x) + f(x)"),
        ["N0102"],
    ),
    "two masks": (masked("m", "mask m = n and n\nmask n = m and m"), ["N0102"]),
    "two scores": (sublayer("attention { heads: 2, score: m }", "score m = n then n\nscore n = m then m"), ["N0102"]),
    "two lets": (hidden("a", facts="let a: b\n  let b: a"), ["N0102"]),
    "dim": (model().replace("dim: 16", "dim: 2 * dim"), ["N0102"]),
    "lets of a mask": (masked("m", facts="let m: n and n\n  let n: m or m"), ["N0102"]),
    "an equation and itself": (sublayer("m", "module m(x) { y = y + x  return y }"), ["N0101"]),
    "a default": (sublayer("m", "module m(x; a = b, b = a) = linear(x, a)"), ["N0102"]),
    "a model that extends itself": ("model tiny extends tiny {}", ["N0102"]),
    "blocks that extend each other": (
        layers("2 of a", "block a extends b {}\nblock b extends a {}"),
        ["N0102"],
    ),
}

EXTENDS = (
    "model m0 {\n  vocab: 64\n  dim: 16\n  embed: tokens\n  layers: 2 of block { ffn { hidden: 4 } }\n  head: tied\n}"
)
UNFOLDING = {
    "same in same": chain(EXTENDS, "model m@ extends m< { layers: (same, same) }"),
    "same plus same": chain(EXTENDS, "model m@ extends m< { dim: same + same }"),
    "same plus one": chain(EXTENDS, "model m@ extends m< { dim: same + 1 }", 400),
}
"""Files of many models, of which the last is the worst."""

HOSTILE = {
    f"{kind}: {what}": case
    for kind, cases in {
        "numbers": NUMBERS, "depth": DEPTH, "layers": LAYERS, "growth": GROWTH, "circle": CIRCLES,
    }.items()
    for what, case in cases.items()
}  # fmt: skip
