"""No silent key: every key of everything that ships changes the model, or is declared to be about something else."""

from __future__ import annotations

import re

import pytest

import tantra_dsl
from tantra_dsl.api import Spec
from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.graph.hash import full_hash
from tantra_dsl.resources import specs_path
from tantra_dsl.semantics.binding import parameters
from tantra_dsl.semantics.builders.table import PRIMITIVES as BUILT_IN
from tantra_dsl.semantics.concerns import START, concern
from tantra_dsl.semantics.library import prelude
from tantra_dsl.semantics.values import Function
from tantra_dsl.syntax.tree import Definition
from tests.guarantees.components import LIBRARY, model
from tests.guarantees.model_keys import KEYS as MODEL_KEYS
from tests.guarantees.primitive_keys import KEYS as PRIMITIVES

EVERY = {**LIBRARY, **PRIMITIVES, **MODEL_KEYS}


def sound(text: str, language: str = "text") -> Spec:
    spec = tantra_dsl.loads(text, language=language)
    assert [found for found in spec.check() if found.severity == "error"] == [], text
    return spec


def definitions() -> dict[str, Definition]:
    """Everything that the standard library defines."""
    scope, _ = prelude()
    values = {name: thunk.peek() for name, thunk in scope.names.items() if thunk.known}
    return {n: v.definition for n, v in values.items() if isinstance(v, Function) and v.definition is not None}


def test_every_parameter_of_the_library_is_tried() -> None:
    expected = {f"{name}.{key}" for name, item in definitions().items() for key in parameters(item)}
    assert set(LIBRARY) == expected


def test_every_setting_of_every_primitive_is_tried() -> None:
    assert set(PRIMITIVES) == {f"{item.name}.{key.rstrip('*')}" for item in BUILT_IN for key, _ in item.params}


@pytest.mark.parametrize("key", EVERY)
def test_a_key_changes_what_it_is_about(key: str) -> None:
    change = EVERY[key]
    before, after = sound(change.before), sound(change.after)
    owner, _, name = key.partition(".")
    assert full_hash(before.graph()) != full_hash(after.graph())
    assert (before.hash() != after.hash()) == (concern(owner, name) == "architecture")


@pytest.mark.parametrize("key", EVERY)
def test_a_key_means_the_same_in_yaml(key: str) -> None:
    text = sound(EVERY[key].after)
    yaml = sound(text.to_yaml(), "yaml")
    assert full_hash(yaml.graph()) == full_hash(text.graph())


def test_what_is_declared_to_be_about_the_start_exists() -> None:
    assert set(EVERY) >= START


def test_the_recipe_changes_neither_hash() -> None:
    without = model()
    trained = without.replace("objective:", "train { steps: 7 }\n  objective:")
    assert concern("model", "train") == "recipe"
    assert full_hash(sound(trained).graph()) == full_hash(sound(without).graph())
    assert sound(trained).recipe() != sound(without).recipe()


# --- words of choices ------------------------------------------------------------------

WORDS = {
    "rms.weight": ("norm: rms(weight: @)", ("plain", "one_plus", "none")),
    "sinusoidal.layout": ("embed: tokens + sinusoidal(layout: @)", ("interleaved", "halves")),
    "rope.scaling": (
        "sublayer: attention { heads: 2, mask: causal, position: rope(scaling: @) }",
        ("none", "linear(factor: 4)", "llama3(factor: 4, original: 4)", "yarn(factor: 4)"),
    ),
    "moe.scoring": ("sublayer: moe { experts: 4, top_k: 2, hidden: 8, scoring: @ }", ("softmax", "sigmoid")),
    "classifier.pool": ("head: classifier(classes: 3, pool: @)", ("first", "last", "mean")),
}


def words(item: Definition) -> dict[str, tuple[str, ...]]:
    """The parameters of a definition that are one of several words."""
    return {name: p.choices for name, p in parameters(item).items() if len(p.choices) > 1}


def test_every_choice_of_the_library_is_tried() -> None:
    expected = {f"{name}.{key}": tried for name, item in definitions().items() for key, tried in words(item).items()}
    assert {key: tuple(word.partition("(")[0] for word in tried) for key, (_, tried) in WORDS.items()} == expected


@pytest.mark.parametrize("key", WORDS)
def test_every_word_of_a_choice_is_another_model(key: str) -> None:
    wrap, tried = WORDS[key]
    part, _, text = wrap.partition(": ")
    beside = {"objective": "classification", "sublayer": "attention { heads: 2 }"} if part == "head" else {}
    specs = [sound(model(**{part: text.replace("@", word), **beside})) for word in tried]
    assert len({spec.hash() for spec in specs}) == len(tried)


# --- keys that are mistakes ------------------------------------------------------------


def codes(text: str) -> list[str]:
    try:
        return [found.code for found in tantra_dsl.loads(text).check()]
    except SpecError as error:
        return [found.code for found in error.diagnostics]


@pytest.mark.parametrize("key", [key for key in LIBRARY if ": " in LIBRARY[key].after])
def test_a_misspelt_key_is_a_mistake_with_the_right_one_suggested(key: str) -> None:
    _, _, name = key.partition(".")
    wrong = re.sub(rf"\b{name}: (?!.*\b{name}: )", f"{name}_: ", LIBRARY[key].after, flags=re.DOTALL)
    if wrong == LIBRARY[key].after:
        pytest.skip("given by place")
    found = tantra_dsl.loads(wrong).check()
    assert [item.code for item in found] == ["K0101"]
    assert f"`{name}`" in found[0].help


IDLE = {
    "both biases given": model(
        sublayer="attention { heads: 2, mask: causal, bias: true, qkv_bias: true, out_bias: true }"
    ),
    "a let nobody reads": model(facts="let a: 3"),
    "an equation nobody reads": model(
        sublayer="probe", definitions="module probe(x) { y = linear(x, 3)  return x * 2 }"
    ),
    "a norm nobody uses": model(facts="norm: rms"),
    "a parameter nobody reads": model(
        sublayer="probe(width: 3)", definitions="module probe(x; width) = linear(x, dim)"
    ),
    "a setting of nothing": model(sublayer="attention { heads: 2, mask: causal, qk_norm: none(eps: 3) }"),
    "a share nobody calls": model(facts="share extra: linear(out: 3)"),
    "a let only another idle let reads": model(facts="let a: 3\n  let b: a"),
}


@pytest.mark.parametrize("what", IDLE)
def test_a_key_without_effect_is_a_mistake(what: str) -> None:
    assert set(codes(IDLE[what])) == {"K0102"}


# --- shipped specs ---------------------------------------------------------------------

SPECS = sorted(path for path in specs_path().rglob("*.tantra") if path.parent.name != "std")
LITERAL = re.compile(r"(?<![\w.\"/*-])(\d[\d_]*(?:\.\d+)?(?:e-?\d+)?)(?![\w.\"])|\b(true|false)\b")


def literals(text: str) -> list[re.Match[str]]:
    """Numbers and truth values outside comments, ``expect``, and the recipe."""
    ignored = re.compile(r"#[^\n]*|\bexpect [^\n]*|\btrain \{.*?\n  \}|\btrain\.[^\n]*", re.DOTALL)
    spans = [match.span() for match in ignored.finditer(text)]
    return [m for m in LITERAL.finditer(text) if not any(start <= m.start() < end for start, end in spans)]


def mutated(match: re.Match[str]) -> str:
    word = match[0]
    if word in ("true", "false"):
        return "false" if word == "true" else "true"
    if "." in word or "e" in word:
        return str(float(word) * 2)
    return str(int(word.replace("_", "")) * 2 or 1)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_literal_of_a_shipped_spec_matters(path: object) -> None:
    """Doubling a number or turning a truth value around gives another model, or a mistake that says why not."""
    text = re.sub(r"^ *expect [^\n]*\n", "", specs_path().joinpath(str(path)).read_text(encoding="utf-8"), flags=re.M)
    before = hashes(text)
    assert before is not None
    found = literals(text)
    assert found or path.stem == "gpt2_denseformer"  # type: ignore[attr-defined]
    silent = []
    for match in found:
        after = hashes(text[: match.start()] + mutated(match) + text[match.end() :])
        if after == before:
            silent.append(text[text.rindex("\n", 0, match.start()) : match.end()])
    assert silent == []


def hashes(text: str) -> list[str] | None:
    """Of every model of a file; None where there are mistakes."""
    try:
        first = tantra_dsl.loads(text)
        specs = [
            first,
            *(Spec(first.unit, first.unit.models()[name]) for name in first.model_names if name != first.name),
        ]
        return [full_hash(spec.graph()) for spec in specs]
    except SpecError:
        return None


TWICE = {
    "a = linear(x, 8, out: 8)": "linear was given `out` twice",
    "a = conv1d(x, 5; width: 5)": "conv1d was given `width` twice",
    "a = pool(x, mean, axis: time; kind: sum)": "pool was given `kind` twice",
    "a = attention(x, 2, heads: 2)": "module attention was given `heads` twice",
    "a = x |> wide(8, n: 8) * 2": "block wide was given `n` twice",
    "a = attention(x; heads: 2, mask: near(3, w: 3))": "mask near was given `w` twice",
}


@pytest.mark.parametrize("line", TWICE)
def test_a_value_given_by_place_and_by_name_is_told(line: str) -> None:
    text = f"""
    mask near(w: int) = q - k < w
    block wide(x; n: int) = x + linear(x, n)
    model m {{
      vocab: 10
      dim: 8
      input tokens: tokens
      x = embed(tokens)
      {line}
      return a
    }}
    """
    (first, *_) = tantra_dsl.loads(text).check()
    assert (first.code, first.title) == ("K0104", TWICE[line])


REPEATED = {
    "return x; return x": "S0201: `return` is set twice",
    "a, a = split(x, 4, 4); return a": "S0202: variable `a` is defined twice",
    "train { steps: 3 }; train { seed: 4 }; return x": "S0201: `train` is set twice",
    "return exp(max(x, foo: 3))": "K0101: max has no `foo`",
    "input unread: per_token; return x": "K0102: `input unread` has no effect",
    "return halved(x, 2, 3)": "K0104: fn halved takes 2 values (x, y), but more were given",
    "return attention(x, heads: 2, mask: max(q, foo: k) <= q)": "K0101: max has no `foo`",
}


@pytest.mark.parametrize("lines", REPEATED)
def test_nothing_is_set_aside_silently(lines: str) -> None:
    body = lines.replace("; ", "\n      ")
    text = f"""
    fn halved(x, y) = x / y
    model m {{
      vocab: 10
      dim: 8
      input tokens: tokens
      x = embed(tokens)
      {body}
    }}
    """
    try:
        found = tantra_dsl.loads(text).check()
    except SpecError as error:
        found = error.diagnostics
    assert [f"{item.code}: {item.title}" for item in found] == [REPEATED[lines]]
