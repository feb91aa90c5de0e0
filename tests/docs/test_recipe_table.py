"""The language reference lists the recipe's keys as they are."""

from __future__ import annotations

from tests.docs.recipe_table import BETWEEN, PAGE, table


def test_the_reference_lists_every_key_of_the_recipe() -> None:
    found = BETWEEN.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found.group() == table()
