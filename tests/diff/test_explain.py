"""``tantra explain SPEC PATH``: the chain of lines, defaults and overrides that set a value."""

from __future__ import annotations

from pathlib import Path

import pytest

import tantra_dsl
from tantra_dsl.cli import main
from tantra_dsl.diff import explain
from tests.diff.conftest import SMALL

CHAIN = (
    SMALL
    + """
model wide extends small {
  dim: 128
  layers.attention.heads: 8
}
model wider extends wide {
  layers.attention.heads: 16
  norm: rms(eps: 1e-6)
  train { steps: 7 }
}
"""
)


def origin(path: str, *, name: str = "wider", sets: tuple[str, ...] = (), text: str = CHAIN) -> tuple[str, list[str]]:
    """A value, and its lines as ``number role``."""
    (found,) = explain(_named(text, name, sets), path)
    return found.value, [f"{line.where.rpartition(':')[2]} {line.role}" for line in found.lines]


def _named(text: str, name: str, sets: tuple[str, ...]) -> tantra_dsl.Spec:
    from tantra_dsl.api import spec_of
    from tantra_dsl.diagnostics.core import Sink
    from tantra_dsl.semantics.library import Reader
    from tantra_dsl.syntax.source import Source

    unit = Reader(Sink()).take(Source("chain.tantra", text), None, None)
    assert unit is not None
    return spec_of(unit, name, sets, Sink())


def test_a_value_overridden_twice() -> None:
    assert origin("layers.attention.heads") == (
        "16",
        ["23 sets it", "20 set it to 8 in wide; overridden", "10 set it to 4 in small; overridden"],
    )


def test_an_override_from_outside_comes_first() -> None:
    value, lines = origin("layers.attention.heads", sets=("layers.attention.heads=32",))
    assert value == "32"
    assert lines[0] == "1 sets it"
    assert lines[1:] == [
        "23 set it to 16 in wider; overridden",
        "20 set it to 8 in wide; overridden",
        "10 set it to 4 in small; overridden",
    ]


def test_arithmetic_names_the_lines_of_what_it_reads() -> None:
    assert origin("layers.ffn.hidden") == ("4 * dim (512)", ["11 sets it", "19 gives `dim`"])


def test_a_default_names_what_it_is_made_from() -> None:
    value, lines = origin("layers.attention.head_dim")
    assert value == "dim / heads (8)"
    assert lines == ["5 is the default", "19 gives `dim`", "23 gives `heads`"]


def test_a_let() -> None:
    assert origin("final_norm") == ("rms(eps: 1e-6)", ["13 sets it", "24 gives `norm`"])
    value, lines = origin("final_norm.eps")
    assert (value, lines[0]) == ("1e-6", "24 sets it")


def test_the_recipe() -> None:
    assert origin("train.steps") == ("7", ["25 sets it", "the recipe's default is the default, 1000; overridden"])
    value, lines = origin("train.batch")
    assert value == "32"
    assert lines == ["the recipe's default is the default"]


def test_layers_that_differ_are_told_apart() -> None:
    found = explain(tantra_dsl.load("gemma3_4b"), "layers.attention.mask")
    assert {(item.path, item.value) for item in found} == {
        ("layers[all but every 6th].attention.mask", "causal and window(1024)"),
        ("layers[every 6th].attention.mask", "causal"),
    }


def test_what_a_block_inherits_is_in_the_chain() -> None:
    found = {item.value: item for item in explain(tantra_dsl.load("gemma3_4b"), "layers.attention.mask")}
    assert [line.role for line in found["causal"].lines] == [
        "sets it",
        "set it to causal and window(1024) in block local; overridden",
    ]
    assert [line.role for line in found["causal and window(1024)"].lines] == ["sets it"]


def test_an_equation() -> None:
    (found,) = explain(tantra_dsl.load("bert_base"), "pooled")
    assert found.value == "tanh(linear(select(encoded, 0), dim, true))"
    assert found.lines[0].text.startswith("pooled = ")


def test_one_layer() -> None:
    (found,) = explain(tantra_dsl.load("gemma3_4b"), "layers[5].attention.position.theta")
    assert (found.path, found.value) == ("layers[5].attention.position.theta", "1_000_000")


@pytest.mark.parametrize("name", [spec.name for spec in tantra_dsl.shipped()])
def test_every_setting_of_every_shipped_model_has_an_origin(name: str) -> None:
    from tantra_dsl.diff.account import Part, account

    spec = tantra_dsl.load(name)

    def check(part: Part, path: str) -> None:
        for setting in part.settings:
            found = explain(spec, f"{path}.{setting}")
            assert found
            assert all(item.lines for item in found)

    for stack in account(spec).root.stacks.values():
        part = stack.at(0)
        check(part, f"{stack.name}[0]")
        for sub in part.sublayers:
            if sub.part is not None:
                check(sub.part, f"{stack.name}[0].{sub.label}")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("layers.attention.haeds", "did you mean `heads`"),
        ("layers.atention.heads", "did you mean `attention`"),
        ("layrs", "did you mean `layers`"),
        ("layers[99].attention.heads", "there is no `layer 99`"),
        ("train.stps", "there is no `stps`"),
        ("layers.attention.heads.more", "there is no `more`"),
        ("layers..heads", "names nothing"),
    ],
)
def test_a_path_that_names_nothing(path: str, hint: str) -> None:
    with pytest.raises(tantra_dsl.SpecError) as caught:
        explain(tantra_dsl.load("gpt2"), path)
    (found,) = caught.value.diagnostics
    assert found.code == "N0103"
    assert hint in f"{found.title} {found.help}"


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("chain.tantra").write_text(CHAIN, encoding="utf-8")
    assert main(["explain", "chain.tantra:wider", "layers.attention.heads"]) == 0
    assert capsys.readouterr().out == (
        "layers.attention.heads = 16\n"
        "  chain.tantra:23  sets it: layers.attention.heads: 16\n"
        "  chain.tantra:20  set it to 8 in wide; overridden: layers.attention.heads: 8\n"
        "  chain.tantra:10  set it to 4 in small; overridden: attention { heads: 4, mask: causal, bias: true }\n"
    )
    assert main(["explain", "chain.tantra:wider", "layers.attention.haeds"]) == 1
    assert "error[N0103]" in capsys.readouterr().err
