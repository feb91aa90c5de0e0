"""No empty row: a mask that leaves a query without a key is reported."""

from __future__ import annotations

import pytest

import tantra_dsl
from tests.guarantees.components import model

EMPTY = {
    "k < q": ("M0101", "position 0"),
    "q - k > 2 and k <= q": ("M0101", "position 0"),
    "k <= q and k % 2 == 1": ("M0101", "position 0"),
    "k <= q and (k >= 3 or q < 2)": ("M0101", "position 2"),
    "k <= q and not causal": ("M0102", "no key"),
}
FULL = ("causal", "k <= q and q - k < 3", "k < q or k == q", "strided(4)", "sinks(1, 2)", "causal and same_document")


def checked(mask: str) -> list[tuple[str, str]]:
    text = model(sublayer=f"attention {{ heads: 2, mask: {mask} }}", inputs="input doc: per_token")
    found = tantra_dsl.loads(text if "document" in mask else text.replace("input doc: per_token", "")).check()
    return [(item.code, item.title) for item in found]


@pytest.mark.parametrize("mask", EMPTY)
def test_an_empty_row_is_reported(mask: str) -> None:
    code, said = EMPTY[mask]
    (found,) = checked(mask)
    assert found[0] == code
    assert said in found[1]


@pytest.mark.parametrize("mask", FULL)
def test_a_full_mask_passes(mask: str) -> None:
    assert checked(mask) == []
