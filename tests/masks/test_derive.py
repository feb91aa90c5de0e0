"""Plans against brute force: nothing allowed is left out, nothing full is forbidden, and little is visited in vain."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tantra_dsl.masks import Plan, derive
from tantra_dsl.masks.blocks import Sizes, spans_of, visited
from tantra_dsl.masks.fields import with_aux
from tantra_dsl.scalars.count import allowed_rows
from tantra_dsl.scalars.evaluate import Value, evaluate
from tantra_dsl.scalars.format import parse_scalar
from tantra_dsl.scalars.ir import Capture, Program, Scalar

CAPTURES = (Capture("doc", integer=True), Capture("length", integer=True), Capture("flag", integer=True))
DOC = {
    "sorted": [0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 6, 6, 6, 7, 7, 7, 7, 8, 8],
    "downwards": [-(place // 5) for place in range(32)],
    "mixed": [0, 0, 1, 1, 1, 0, 0, 2, 2, 0, 3, 3, 3, 0, 0, 0, 4, 4, 0, 5, 5, 5, 5, 0, 0, 6, 6, 0, 0, 7, 7, 7],
}
FLAG = [1] * 3 + [0] * 2 + [1] * 20 + [0] * 7
SHIPPED = {
    "all": "true",
    "causal": "k <= q",
    "window": "k <= q and q - k < 6",
    "prefix": "k <= q or k < 7",
    "run-time prefix": "k <= q or k < length[b]",
    "strided": "k <= q and (q - k < 4 or k % 4 == 3)",
    "longformer": "abs(q - k) <= 3 or k < 2 or q < 2",
    "fixed": "k <= q and (k // 8 == q // 8 or k % 8 >= 6)",
    "block_causal": "k // 8 <= q // 8",
    "sinks": "k <= q and (q - k < 6 or k < 2)",
    "same_document": "doc[b, q] == doc[b, k]",
    "causal documents": "k <= q and doc[b, q] == doc[b, k]",
    "padding": "k < length[b]",
    "flags": "flag[b, k] == 1",
    "causal flags": "k <= q and flag[b, k] > 0 and flag[b, q] == 1",
    "by head": "k <= q and q - k < (h + 1) * 3",
    "by head, real": "k <= q and q - k < 2.5 * 1.5 ** h",
    "by head, without end": "k <= q and q - k < exp(900 * h)",
    "thirds": "k <= floor(q / 3) * 3 + 1",
    "chunked": "k <= q and k // 8 == q // 8",
    "dilated": "(q - k) % 4 == 0 and k <= q and q - k < 24",
    "none": "false",
    "backwards": "k > q",
    "half": "2 * k <= q",
    "images": "k <= q or (doc[b, q] == doc[b, k] and doc[b, k] > 0)",
    "not document": "doc[b, q] != doc[b, k] and k < q",
}


def program(text: str) -> Program:
    return Program("mask", ("q", "k", "b", "h"), parse_scalar(text, CAPTURES), CAPTURES)


def reader(doc: list[int], length: int):  # type: ignore[no-untyped-def]
    def read(capture: int, index: tuple[Value, ...]) -> Value:
        return length if capture == 1 else (doc if capture == 0 else FLAG)[int(index[1])]

    return read


def allowed(body: Scalar, q: int, k: int, sizes: Sizes, h: int, read) -> bool:  # type: ignore[no-untyped-def]
    values: dict[str, Value] = {"q": q, "k": k, "b": 0, "h": h, "queries": sizes.queries, "keys": sizes.keys}
    return bool(evaluate(body, values, read))


def check_sound(plan: Plan, sizes: Sizes, h: int, read) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    """Asserts soundness both ways; tiles visited and tiles needed."""
    start = sizes.keys - sizes.queries
    table = {
        (q, k): allowed(plan.body, q, k, sizes, h, read) for q in range(start, sizes.keys) for k in range(sizes.keys)
    }
    both = with_aux(plan, sizes.queries, sizes.keys, 1, read)
    covers = {(row, column): cover for row, column, cover in visited(plan, sizes, 0, h, both)}
    needed = set()
    for (q, k), holds in table.items():
        tile = (q - start) // sizes.tile_q, k // sizes.tile_k
        cover = covers.get(tile)
        assert cover is not None or not holds, (q, k)
        assert cover != "full" or holds, (q, k)
        if holds:
            needed.add(tile)
    for first in range(0, sizes.keys, sizes.tile_k):
        last = min(first + sizes.tile_k, sizes.keys) - 1
        spans = spans_of(plan.queries, first, last, sizes, 0, h, both)
        for q in range(start, sizes.keys):
            column = [table[q, k] for k in range(first, last + 1)]
            assert not any(column) or any(low <= q < high for low, high, _, _ in spans), (first, last, q)
            assert all(column) or not any(low <= q < high for _, _, low, high in spans), (first, last, q)
    return len(covers), len(needed)


@pytest.mark.parametrize("doc", DOC)
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("sizes", [Sizes(32, 32, 4, 4), Sizes(9, 29, 4, 8), Sizes(1, 32, 4, 4), Sizes(31, 31, 8, 3)])
def test_known_masks_are_run_through_soundly(name: str, doc: str, sizes: Sizes) -> None:
    plan = derive(program(SHIPPED[name]))
    for length in (0, 5, sizes.keys):
        check_sound(plan, sizes, 1, reader(DOC[doc], length))


@pytest.mark.parametrize("name", ["same_document", "causal documents", "padding", "run-time prefix"])
def test_with_fields_little_is_visited_in_vain(name: str) -> None:
    got, needed = check_sound(derive(program(SHIPPED[name])), Sizes(32, 32, 4, 4), 1, reader(DOC["sorted"], 13))
    assert got == needed


REAL_SIZES = {
    "all": "true",
    "causal": "k <= q",
    "window": "k <= q and q - k < 512",
    "odd window": "k <= q and q - k < 333",
    "prefix": "k <= q or k < 200",
    "strided": "k <= q and (q - k < 128 or k % 128 == 127)",
    "widely strided": "k <= q and (q - k < 300 or k % 300 == 299)",
    "longformer": "abs(q - k) <= 256 or k < 64 or q < 64",
    "fixed": "k <= q and (k // 256 == q // 256 or k % 256 >= 224)",
    "block_causal": "k // 96 <= q // 96",
    "sinks": "k <= q and (q - k < 256 or k < 4)",
    "chunked": "k <= q and k // 512 == q // 512",
    "dilated": "k <= q and (q - k) % 256 < 16",
    "two windows": "k <= q and (q - k < 64 or 512 <= q - k and q - k < 576)",
    "within a band of blocks": "abs(q // 128 - k // 128) <= 1",
    "diagonal": "2 * k <= q",
}


@pytest.mark.parametrize("tile", [64, 128])
@pytest.mark.parametrize("name", REAL_SIZES)
def test_little_is_visited_in_vain(name: str, tile: int) -> None:
    body = parse_scalar(REAL_SIZES[name])
    plan, sizes = derive(Program("mask", ("q", "k", "b", "h"), body)), Sizes(1024, 1024, tile, tile)
    got = {(row, column) for row, column, _ in visited(plan, sizes)}
    needed = set()
    row = allowed_rows(body, 1024)
    for q in range(1024):
        bits = row(q)
        needed |= {(q // tile, column) for column in range(1024 // tile) if bits >> column * tile & (1 << tile) - 1}
    assert needed <= got
    assert len(got) <= 1.05 * len(needed)


# --- random predicates ------------------------------------------------------------------------

whole = st.integers(-6, 12).map(str)
place = st.sampled_from(["q", "k", "h", "keys", "queries", "length[b]", "doc[b, q]", "doc[b, k]", "flag[b, k]"])


def sums(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} + {})".format, inner, inner),
        st.builds("({} - {})".format, inner, inner),
        st.builds("({} * {})".format, inner, st.sampled_from(["2", "3", "-1"])),
        st.builds("({} // {})".format, inner, st.sampled_from(["2", "3", "8"])),
        st.builds("({} % {})".format, inner, st.sampled_from(["2", "5", "40"])),
        st.builds("abs({})".format, inner),
        st.builds("min({}, {})".format, inner, inner),
        st.builds("max({}, {})".format, inner, inner),
        st.builds("({} * {})".format, inner, inner),
        st.builds("({} / {})".format, inner, st.sampled_from(["2", "3"])),
    )


numbers = st.recursive(st.one_of(place, place, whole), sums, max_leaves=4)
comparisons = st.builds("{} {} {}".format, numbers, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), numbers)
predicates = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("(not {})".format, inner),
        st.builds("(if {} then {} else {})".format, inner, inner, inner),
        st.builds("({} and k <= q)".format, inner),
    ),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    predicates, st.integers(1, 12), st.integers(0, 8), st.integers(1, 6), st.integers(1, 6),
    st.sampled_from(sorted(DOC)), st.integers(0, 14),
)  # fmt: skip
def test_random_masks_are_run_through_soundly(
    text: str, queries: int, before: int, tile_q: int, tile_k: int, doc: str, length: int
) -> None:
    sizes = Sizes(queries, queries + before, tile_q, tile_k)
    check_sound(derive(program(text)), sizes, 1, reader(DOC[doc], length))
