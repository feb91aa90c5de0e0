"""Pages and tables that are made from the sources are what the sources say."""

from __future__ import annotations

from tests.docs import library_page, readme_spec, recipe_table


def test_the_language_reference_lists_every_key_of_the_recipe() -> None:
    found = recipe_table.BETWEEN.search(recipe_table.PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found.group() == recipe_table.table()


def test_the_library_page_is_what_the_library_says() -> None:
    assert library_page.PAGE.read_text(encoding="utf-8") == library_page.page()


def test_the_readme_shows_the_spec_that_make_train_trains() -> None:
    assert readme_spec.shown() == readme_spec.shipped()
