"""Models that stand alone hold what they use of the runtime in one file, so its names have one meaning."""

from __future__ import annotations

import ast
from collections import defaultdict

from tantra_compiler.emit import runtime_index


def test_a_name_means_the_same_in_every_file_of_the_runtime() -> None:
    meanings: dict[str, set[str]] = defaultdict(set)
    for file in runtime_index._FOLDER.glob("*.py"):
        for tree in ast.parse(file.read_text()).body:
            for name in runtime_index._defined(tree):
                meanings[name].add(ast.unparse(tree))
    assert [name for name, found in meanings.items() if len(found) > 1] == []
