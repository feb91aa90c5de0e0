"""Random syntax trees: every node kind, in every place where the grammar can put it."""

from __future__ import annotations

from hypothesis import strategies as st

from tantra_dsl.syntax.literals import canonical_number
from tantra_dsl.syntax.operators import PRECEDENCE
from tantra_dsl.syntax.tree import (
    Argument,
    Assign,
    Attribute,
    Binary,
    Body,
    Call,
    Definition,
    Entry,
    Expect,
    File,
    If,
    Index,
    Input,
    Item,
    Let,
    ListExpr,
    Name,
    Number,
    Parameter,
    Remove,
    Return,
    Share,
    String,
    Tuple,
    Unary,
    Use,
)
from tantra_dsl.syntax.words import KINDS, RESERVED, SOFT

names = st.one_of(
    st.sampled_from(["x", "heads", "norm", "q_norm", "i", "true", "none", "attention", "count", "as", "extends_"]),
    st.sampled_from(sorted(SOFT)),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True).filter(
        lambda word: (
            word not in RESERVED and word not in ("True", "False", "None", "TRUE", "FALSE", "NONE", "null", "Null")
        )
    ),
)
# Before a bracket these words open something else.
callees = names.filter(lambda word: word not in ("block", "module", "fn", "share"))
numbers = st.from_regex(
    r"(0|[1-9][0-9]{0,6})(\.[0-9]{1,3})?(e-?[1-9][0-9]?)?[KMBT]?", fullmatch=True
).map(canonical_number).map(Number)  # fmt: skip
strings = st.text(max_size=8).filter(lambda text: not any(0xD800 <= ord(c) < 0xE000 for c in text)).map(String)
binary_ops = st.sampled_from([op for op in PRECEDENCE if op not in ("not", "negative", "share")])


@st.composite
def dotted(draw, first=names):
    expr = Name(draw(first))
    for name in draw(st.lists(names, max_size=2)):
        expr = Attribute(expr, name)
    return expr


@st.composite
def paths(draw):
    text = draw(names)
    for name in draw(st.lists(names, max_size=2)):
        text += draw(st.sampled_from(["", "[3]", "[i - 1]"])) + "." + name
    return text


def unique(elements, key, **sizes):
    return st.lists(elements, unique_by=key, **sizes).map(tuple)


def arguments(exprs, *, braces):
    hyper = st.just(False) if braces else st.booleans()
    one = st.builds(Argument, st.one_of(st.none(), paths()), exprs, hyper)
    listed = st.lists(one, max_size=3, unique_by=lambda a: a.name if a.name else id(a))
    return listed.map(lambda found: tuple(sorted(found, key=lambda argument: argument.hyper)))


def parameters(exprs):
    default = st.one_of(st.none(), exprs)
    return st.builds(Parameter, names, st.lists(names, max_size=2).map(tuple), default)


@st.composite
def signatures(draw, exprs):
    both = draw(unique(parameters(exprs), lambda p: p.name, max_size=4))
    if draw(st.booleans()):
        return None, ()
    cut = draw(st.integers(0, len(both)))
    return both[:cut], both[cut:]


@st.composite
def anonymous_blocks(draw, exprs, bodies):
    kind = draw(st.sampled_from(["block", "module"]))
    return Definition(kind, None, *draw(signatures(exprs)), None, draw(bodies))


@st.composite
def anonymous_functions(draw, exprs):
    inputs, params = draw(signatures(exprs).filter(lambda found: found[0] is not None))
    return Definition("fn", None, inputs, params, None, draw(exprs))


@st.composite
def definitions(draw, exprs, bodies):
    base = st.one_of(st.none(), dotted(callees), st.builds(Call, dotted(callees), arguments(exprs, braces=False)))
    body = draw(st.one_of(bodies, exprs))
    return Definition(draw(st.sampled_from(KINDS)), draw(names), *draw(signatures(exprs)), draw(base), body)


def several(elements):
    return st.lists(elements, min_size=1, max_size=3).map(tuple)


def extend(exprs):
    bodies = bodies_of(exprs, nested=None)
    return st.one_of(
        st.builds(ListExpr, st.lists(exprs, max_size=3).map(tuple)),
        st.builds(Tuple, several(exprs)),
        st.builds(Unary, st.sampled_from(["-", "not", "share"]), exprs),
        st.builds(Binary, binary_ops, exprs, exprs),
        st.builds(If, exprs, exprs, exprs),
        st.builds(Index, exprs, several(exprs)),
        st.builds(Attribute, exprs, names),
        st.builds(Call, exprs, arguments(exprs, braces=False)),
        st.builds(Call, dotted(callees), arguments(exprs, braces=True), st.just(True)),
        anonymous_blocks(exprs, bodies),
        anonymous_functions(exprs),
    )


def members_of(exprs, nested):
    kinds = [
        st.builds(Entry, paths(), exprs),
        st.builds(Item, exprs),
        st.builds(Let, names, exprs),
        st.builds(Share, names, exprs),
        st.builds(Input, names, exprs),
        st.builds(Assign, st.lists(names, min_size=1, max_size=3, unique=True).map(tuple), exprs),
        st.builds(Return, several(exprs)),
        st.builds(Expect, exprs),
        st.builds(Remove, paths()),
        st.builds(
            Use,
            st.one_of(st.sampled_from(["gpt2", "common.tantra", "a b: c"]), st.text(max_size=5).filter(is_encodable)),
        ),
    ]
    if nested is not None:
        kinds.append(definitions(exprs, nested))
    return st.one_of(kinds)


def is_encodable(text):
    return not any(0xD800 <= ord(character) < 0xE000 for character in text)


def place(member):
    """What may come only once in a body."""
    if isinstance(member, Entry):
        return "key", member.path
    if isinstance(member, Return):
        return "return"
    name = getattr(member, "name", None)
    return ("name", name) if name else ("free", id(member))


def bodies_of(exprs, nested):
    return unique(members_of(exprs, nested), place, max_size=4).map(Body)


leaves = st.one_of(names.map(Name), numbers, strings)
expressions = st.recursive(leaves, extend, max_leaves=7)
flat_bodies = st.deferred(lambda: bodies_of(expressions, None))
nested_bodies = st.deferred(lambda: bodies_of(expressions, flat_bodies))
files = unique(st.deferred(lambda: members_of(expressions, nested_bodies)), place, max_size=4).map(File)
