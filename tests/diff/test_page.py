"""A diff as a page: every operation named, marked in the diagrams and linked with the texts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given, settings

import tantra_dsl
from tantra_dsl.api import Spec
from tantra_dsl.cli import main
from tantra_dsl.diff import Diff, diff
from tantra_dsl.diff.operations import place
from tantra_dsl.diff.page import page
from tantra_dsl.diff.page_marks import WHOLE, Side, marks, selected
from tantra_dsl.diff.which import which
from tantra_dsl.diff.wording import HEADINGS
from tantra_dsl.draw import picture
from tantra_dsl.draw.svg import Mark
from tests.diff.conftest import SMALL, edited
from tests.diff.random_specs import Model, Spelling, changed, changes, models, text
from tests.draw.test_commands import assert_self_contained

SIDES: tuple[Side, Side] = ("before", "after")
ROOT = Path(__file__).resolve().parents[2]
MORE = edited(("    ffn {", "    second: attention { heads: 2, mask: causal }\n    ffn {"))


@cache
def pair(before: str, after: str) -> tuple[Diff, Spec, Spec]:
    sides = tantra_dsl.load(before), tantra_dsl.load(after)
    return (diff(*sides), *sides)


def paged(before: str, after: str) -> str:
    sides = tantra_dsl.loads(before), tantra_dsl.loads(after)
    return page(diff(*sides), *sides)


def marked(before: str, after: str) -> tuple[dict[str, Mark], dict[str, Mark]]:
    """The marks of both sides of a diff of two texts."""
    sides = tantra_dsl.loads(before), tantra_dsl.loads(after)
    numbered = list(enumerate(diff(*sides).operations, 1))
    old, new = (picture(side.graph()) for side in sides)
    return marks(old, numbered, "before"), marks(new, numbered, "after")


# --- the page ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("llama3_8b", "gemma3_4b"),
        ("gpt2", "gpt2_medium"),
        ("gpt2", "vit_base_16"),
        ("gpt2", "gpt2"),
        ("t5_base", "clip_vit_b_32"),
    ],
)
def test_every_operation_is_named_with_its_reason_and_its_lines(before: str, after: str) -> None:
    found, *sides = pair(before, after)
    said = page(found, *sides)
    assert_self_contained(said)
    items = re.findall(r'<li id="op-(\d+)">(.*?)</li>', said, re.DOTALL)
    listed = [op for concern in HEADINGS for op in found.of(concern)]
    assert [int(number) for number, _ in items] == list(range(1, len(listed) + 1))
    for op, (_, item) in zip(listed, items, strict=True):
        plain = unescape(re.sub(r"<[^>]*>", "", item))
        for word in (op.path, op.why, place(op.before), place(op.after)):
            assert word is None or word in plain, (op, word)


def test_places_lead_to_lines_and_lines_back() -> None:
    said = paged(SMALL, edited(("heads: 4,", "heads: 8,")))
    (link,) = re.findall(r'<a href="#(a0-\d+)">&lt;text&gt;:10</a>', said)
    (line,) = re.findall(rf'<span class="changed" id="{link}">(.*?)</span>', said)
    assert "heads: 4" in line
    assert 'href="#op-1"' in line


def test_costs_and_weights_are_those_of_the_diff() -> None:
    found, *sides = pair("llama3_8b", "gemma3_4b")
    said = unescape(page(found, *sides))
    for change in found.costs.figures:
        assert change.new.value is not None
    assert "-4.1B (-51.7%)" in said
    for tensor in found.weights:
        assert tensor.path in said


def test_what_is_the_same_has_no_operations() -> None:
    said = paged(SMALL, SMALL)
    assert "Nothing is different." in said
    assert 'class="badge' not in said.partition("</style>")[2].replace("text.badge", "")


def test_hostile_names_are_only_text() -> None:
    said = paged(
        SMALL.replace("model small", "model a_b"),
        edited(("learned_positions", "learned_positions # </pre><script>x</script>")),
    )
    assert_self_contained(said)
    assert "&lt;/pre&gt;&lt;script&gt;x&lt;/script&gt;" in said


@given(models, changes)
@settings(max_examples=12, deadline=None)
def test_random_changes_are_all_on_the_page(model: Model, steps: dict[str, int]) -> None:
    texts = text(model, Spelling()), text(changed(model, steps), Spelling())
    sides = tantra_dsl.loads(texts[0]), tantra_dsl.loads(texts[1])
    found = diff(*sides)
    said = page(found, *sides)
    assert_self_contained(said)
    assert len(re.findall(r'<li id="op-', said)) == len(found.operations)
    drawn = {number for side in ("before", "after") for m in side_marks(found, sides, side) for number in m.numbers}
    shown = [n for n, op in enumerate(found.operations, 1) if op.concern != "recipe"]
    assert drawn == set(shown)


def side_marks(found: Diff, sides: tuple[Spec, Spec], side: str) -> list[Mark]:
    spec = sides[side == "after"]
    numbered = list(enumerate(found.operations, 1))
    return list(marks(picture(spec.graph()), numbered, side).values())  # type: ignore[arg-type]


# --- marks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "addresses"),
    [
        ("heads: 4,", "heads: 8,", {"layers/attention"}),
        ("mask: causal,", "mask: causal, score: alibi,", {"layers/attention"}),
        ("4 * dim", "100", {"layers/ffn"}),
        ("4 of block", "7 of block", {"layers"}),
        ("dim: 64", "dim: 128", {WHOLE}),
        ("pre(norm)", "post(norm)", {"layers/attention_norm", "layers/ffn_norm"}),
        ("final_norm: norm", "final_norm: rms", {"final_norm"}),
        ("tokens + learned_positions", "tokens", {"x"}),
        ("next_token", "next_token(z_loss: 0.1)", {":objective"}),
    ],
)
def test_what_changes_is_marked_on_both_sides(old: str, new: str, addresses: set[str]) -> None:
    for side in marked(SMALL, edited((old, new))):
        assert {address: mark.kind for address, mark in side.items()} == dict.fromkeys(addresses, "changed")


def test_a_head_is_marked_where_the_vocabulary_is_scored() -> None:
    before, after = marked(SMALL, edited(("head: tied", "head: language_model")))
    assert [set(before), set(after)] == [{"logits"}, {"logits"}]


def test_what_is_added_is_marked_in_the_new_model_alone() -> None:
    before, after = marked(SMALL, MORE)
    assert before == {}
    assert {address: mark.kind for address, mark in after.items()} == {"layers/second": "added"}


def test_what_is_removed_is_marked_in_the_old_model_alone() -> None:
    before, after = marked(MORE, SMALL)
    assert {address: mark.kind for address, mark in before.items()} == {"layers/second": "removed"}
    assert after == {}


def test_only_the_layers_that_change_are_marked() -> None:
    text = edited(("mask: causal,", "mask: if i % 2 == 1 then causal and window(9) else causal,"))
    before, after = marked(SMALL, text)
    assert set(before) == {"layers/attention"}
    assert set(after) == {"layers/kind1/attention"}


def test_a_renamed_label_is_marked_under_both_names() -> None:
    before, after = marked(SMALL, edited(("    attention {", "    attn: attention {")))
    assert set(before) == {"layers/attention"}
    assert set(after) == {"layers/attn"}


def test_what_changes_in_a_renamed_stack_is_marked_on_both_sides() -> None:
    found, *sides = pair("gpt2", "bert_base")
    numbered = list(enumerate(found.operations, 1))
    (mask,) = [number for number, op in numbered if op.path.endswith(".attention.mask")]
    before, after = (marks(picture(spec.graph()), numbered, side) for spec, side in zip(sides, SIDES, strict=True))
    assert mask in before["layers/attention"].numbers
    assert mask in after["encoded/attention"].numbers


def test_recipes_are_not_drawn() -> None:
    assert marked(SMALL, edited(("dim: 64\n", "dim: 64\n  init: normal(0.1)\n"))) == ({}, {})


@pytest.mark.parametrize("count", [1, 2, 5, 6, 12])
def test_words_for_layers_mean_these_layers(count: int) -> None:
    for bits in range(1, 1 << count):
        layers = frozenset(index for index in range(count) if bits >> index & 1)
        words = which(layers, count)
        if words:
            assert selected(words, count) == layers, words


# --- the command -------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(list(arguments))
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_command_writes_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    found, *sides = pair("gpt2", "gpt2_medium")
    status, said, told = run(capsys, "diff", "gpt2", "gpt2_medium", "--format", "html")
    assert (status, said, told) == (0, page(found, *sides), "")
    assert run(capsys, "diff", "gpt2", "gpt2_medium", "--format=html", "--exit-code")[0] == 1


def test_mistakes_are_told_as_in_other_forms(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "broken.tantra"
    file.write_text(edited(("heads: 4,", "haeds: 4,")), encoding="utf-8")
    status, said, told = run(capsys, "diff", "gpt2", str(file), "--format", "html")
    assert (status, said) == (2, "")
    assert "haeds" in told


def test_a_page_loads_no_tensor_library() -> None:
    code = (
        "import sys\nfrom tantra_dsl.cli import main\nmain(['diff', 'llama3_405b', 'llama3_70b', '--format', 'html'])\n"
        "print(*[n for n in ('torch', 'numpy', 'networkx', 'typer', 'rich') if n in sys.modules], file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/compiler"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, encoding="utf-8", check=True
    )
    assert done.stderr.strip() == ""
