"""Reading, splitting and caching training text, and how what is wrong with it is told."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
from dataclasses import replace

import numpy as np
import pytest

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.semantics.recipe import DataSource, Recipe, TokenizerChoice
from tantra_dsl.train import corpus, text, tokenizer
from tantra_dsl.train.corpus import load_corpus
from tantra_dsl.train.objective import Objective

NEXT = Objective("next_token", 256, tokens="tokens")
MASKED = Objective("masked_token", 257, tokens="tokens", labels="labels")
PAIRS = Objective("pairs", 300, source="source", target="target")
BYTES = Recipe(tokenizer=TokenizerChoice("bytes"))


def load(path, tmp_path, recipe=BYTES, objective=NEXT):
    kind = "pairs" if objective is PAIRS else "path"
    return load_corpus(DataSource(kind, str(path)), objective, recipe, (tmp_path,), tmp_path / "run")


def codes(action):
    with pytest.raises(SpecError) as caught:
        action()
    return [problem.code for problem in caught.value.diagnostics]


def tokens_of(made, part="train"):
    return bytes(getattr(made, part)["tokens"]).decode()


def test_the_last_part_of_the_text_is_held_out(tmp_path):
    (tmp_path / "a.txt").write_text("abcdefghij" * 10)
    made = load("a.txt", tmp_path)
    assert tokens_of(made) == "abcdefghij" * 9
    assert tokens_of(made, "validation") == "abcdefghij"


def test_nothing_is_held_out_when_validation_is_0(tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    made = load("a.txt", tmp_path, replace(BYTES, validation=0.0))
    assert (tokens_of(made), tokens_of(made, "validation")) == ("abc", "")


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    (tmp_path / "texts" / "sub").mkdir(parents=True)
    for name, content in (("b.txt", "BB"), ("a.md", "AA"), ("sub/c.txt", "CC"), ("image.png", "PNG")):
        (tmp_path / "texts" / name).write_text(content)
    (tmp_path / "texts" / "d.txt.gz").write_bytes(gzip.compress(b"DD"))
    made = load("texts", tmp_path, replace(BYTES, validation=0.0))
    assert tokens_of(made) == "AABBDDCC"


@pytest.mark.parametrize("seed", range(5))
def test_splitting_by_document_keeps_documents_whole(tmp_path, seed):
    (tmp_path / "texts").mkdir()
    documents = [chr(97 + number) * 10 for number in range(10)]
    for document in documents:
        (tmp_path / "texts" / f"{document[0]}.txt").write_text(document)
    made = load("texts", tmp_path, replace(BYTES, split="document", validation=0.2, seed=seed))
    held = tokens_of(made, "validation")
    assert len(held) == 20
    assert set(held).isdisjoint(tokens_of(made))
    assert sorted(tokens_of(made) + held) == sorted("".join(documents))


def test_the_seed_chooses_the_documents(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(10):
        (tmp_path / "texts" / f"{number}.txt").write_text(str(number) * 10)
    recipe = replace(BYTES, split="document")
    assert len({tokens_of(load("texts", tmp_path, replace(recipe, seed=seed)), "validation") for seed in range(8)}) > 2


def test_one_document_cannot_be_split_by_document(tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    assert codes(lambda: load("a.txt", tmp_path, replace(BYTES, split="document"))) == ["R0210"]


def test_the_bundled_plays():
    source = DataSource("bundled", "shakespeare")
    content = text.read(text.locate(source, (), BYTES.span("data")), BYTES.span("data"))[0].content.decode()
    assert content.startswith("A Midsummer Night's Dream")
    assert "Romeo and Juliet" in content
    assert 4_900_000 < len(content) < 5_100_000


def test_missing_and_strange_data(tmp_path):
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bad.txt.gz").write_bytes(b"\x1f\x8b\x08broken")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 au lait")
    assert codes(lambda: load("none.txt", tmp_path)) == ["R0202"]
    assert codes(lambda: load("a\0b", tmp_path)) == ["R0202"]
    assert codes(lambda: load("x" * 5000, tmp_path)) == ["R0202"]
    assert codes(lambda: load("empty", tmp_path)) == ["R0202"]
    assert codes(lambda: load("pipe", tmp_path)) == ["R0202"]
    assert codes(lambda: load("/dev/zero", tmp_path)) == ["R0202"]
    assert codes(lambda: load("bad.txt.gz", tmp_path)) == ["R0202"]
    assert codes(lambda: load("latin.txt", tmp_path)) == ["R0203"]
    assert codes(lambda: load_corpus(None, NEXT, BYTES, (), tmp_path)) == ["R0201"]


def test_text_that_is_not_utf8_is_told_by_its_offset(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(SpecError, match="byte 3"):
        load("latin.txt", tmp_path)


def test_an_alphabet_larger_than_the_vocabulary(tmp_path):
    (tmp_path / "a.txt").write_text("abcdefgh" * 10)
    recipe = replace(BYTES, tokenizer=TokenizerChoice("characters"))
    with pytest.raises(SpecError) as caught:
        load("a.txt", tmp_path, recipe, replace(NEXT, vocab=5))
    problem = caught.value.diagnostics[0]
    assert (problem.code, problem.help) == ("R0205", "write vocab: 8")
    assert "3 more" in problem.title
    assert tokenizer.size(load("a.txt", tmp_path, recipe, replace(NEXT, vocab=9)).tokenizer) == 8


@pytest.mark.parametrize("kind", ["bytes", "characters", "bpe"])
def test_an_empty_file_has_no_tokens(tmp_path, kind):
    (tmp_path / "a.txt").write_text("")
    made = load("a.txt", tmp_path, replace(BYTES, tokenizer=TokenizerChoice(kind, 300)), replace(NEXT, vocab=300))
    assert (len(made.train["tokens"]), len(made.validation["tokens"])) == (0, 0)


def test_the_mask_token_needs_room(tmp_path):
    (tmp_path / "a.txt").write_text("abc" * 10)
    assert codes(lambda: load("a.txt", tmp_path, BYTES, replace(MASKED, vocab=256))) == ["R0205"]
    assert tokenizer.size(load("a.txt", tmp_path, BYTES, MASKED).tokenizer) == 257


@pytest.mark.parametrize(("vocab", "kind"), [(256, "bytes"), (90, "characters"), (300, "bpe")])
def test_the_tokenizer_goes_by_the_vocabulary(tmp_path, vocab, kind):
    (tmp_path / "a.txt").write_text("the cat sat on the mat\n" * 10)
    made = load("a.txt", tmp_path, Recipe(), replace(NEXT, vocab=vocab)).tokenizer
    assert made.kind == kind
    assert tokenizer.size(made) <= vocab


def test_byte_pairs_are_learned_on_the_training_part_alone(tmp_path):
    (tmp_path / "a.txt").write_text("abab" * 90 + "cdcd" * 10)
    recipe = replace(BYTES, tokenizer=TokenizerChoice("bpe", 300))
    made = load("a.txt", tmp_path, recipe, replace(NEXT, vocab=300))
    learned = {made.tokenizer.token_bytes(token) for token in range(256, made.tokenizer.base)}
    assert b"ab" in learned
    assert not any(b"c" in token for token in learned)


# --- pairs -------------------------------------------------------------------------------


def test_pairs_are_framed_and_split(tmp_path):
    (tmp_path / "a.tsv").write_text("".join(f"s{number}\tt{number}\n" for number in range(20)))
    made = load("a.tsv", tmp_path, BYTES, PAIRS)
    rows = {part: np.split(values["target"], values["target_ends"][:-1]) for part, values in
            (("train", made.train), ("validation", made.validation))}  # fmt: skip
    assert (len(rows["train"]), len(rows["validation"])) == (18, 2)
    start, end = tokenizer.special(made.tokenizer, "start"), tokenizer.special(made.tokenizer, "end")
    assert all(row[0] == start and row[-1] == end for part in rows.values() for row in part)
    targets = {bytes(row[1:-1].astype(np.uint8)).decode() for part in rows.values() for row in part}
    assert targets == {f"t{number}" for number in range(20)}


def test_lines_that_are_no_pairs_are_all_told(tmp_path):
    (tmp_path / "a.tsv").write_text("a\tb\nno tab\n\n\tempty\na\tb\tc\n")
    with pytest.raises(SpecError) as caught:
        load("a.tsv", tmp_path, BYTES, PAIRS)
    assert [(problem.code, problem.line) for problem in caught.value.diagnostics] == [
        ("R0206", 2),
        ("R0206", 4),
        ("R0206", 5),
    ]


def test_text_and_pairs_are_not_taken_for_each_other(tmp_path):
    source = DataSource("bundled", "shakespeare")
    assert codes(lambda: load_corpus(source, PAIRS, BYTES, (), tmp_path)) == ["R0209"]
    assert codes(lambda: load_corpus(DataSource("pairs", "a"), NEXT, BYTES, (), tmp_path)) == ["R0209"]


# --- the cache ---------------------------------------------------------------------------


def only_entry(cache):
    return next((cache / "data").iterdir())


def test_data_is_tokenised_once_and_mapped(tmp_path, cache, monkeypatch):
    (tmp_path / "a.txt").write_text("abc" * 100)
    first = load("a.txt", tmp_path)
    monkeypatch.setattr(corpus, "_build", None)
    second = load("a.txt", tmp_path)
    assert isinstance(second.train["tokens"], np.memmap)
    assert second.digest == first.digest
    np.testing.assert_array_equal(first.train["tokens"], second.train["tokens"])


def test_other_content_tokenizer_or_split_is_other_data(tmp_path):
    (tmp_path / "a.txt").write_text("abc" * 100)
    digests = [load("a.txt", tmp_path).digest]
    digests.append(load("a.txt", tmp_path, replace(BYTES, validation=0.3)).digest)
    digests.append(load("a.txt", tmp_path, replace(BYTES, tokenizer=TokenizerChoice("characters"))).digest)
    digests.append(load("a.txt", tmp_path, BYTES, MASKED).digest)
    (tmp_path / "a.txt").write_text("abc" * 99 + "abd")
    digests.append(load("a.txt", tmp_path).digest)
    assert len(set(digests)) == 5


@pytest.mark.parametrize("harm", ["truncate", "remove", "garbage"])
def test_a_damaged_cache_is_made_anew(tmp_path, cache, harm):
    (tmp_path / "a.txt").write_text("abc" * 100)
    expected = tokens_of(load("a.txt", tmp_path))
    victim = only_entry(cache) / "train.tokens.npy"
    content = victim.read_bytes()
    victim.unlink()
    if harm != "remove":
        victim.write_bytes(content[:-20] if harm == "truncate" else b"x")
    assert tokens_of(load("a.txt", tmp_path)) == expected
    assert victim.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_replaced_by_the_run_folder(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("abc" * 100)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TANTRA_CACHE", str(tmp_path / "file"))
    made = load("a.txt", tmp_path)
    assert (tmp_path / "run" / "data" / made.digest / "sizes.json").exists()


def test_nowhere_to_write_is_told(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("abc" * 100)
    (tmp_path / "run").write_text("")
    monkeypatch.setenv("TANTRA_CACHE", str(tmp_path / "run"))
    assert codes(lambda: load("a.txt", tmp_path)) == ["R0302"]


def _build_in_step(folder, barrier, results):
    os.environ["TANTRA_CACHE"] = str(folder / "cache")
    barrier.wait()
    results.put(tokens_of(load("a.txt", folder)))


def test_processes_that_build_the_same_data_at_once_do_not_disturb_each_other(tmp_path):
    (tmp_path / "a.txt").write_text("abc" * 100_000)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_build_in_step, args=(tmp_path, barrier, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert found == {("abc" * 100_000)[:270_000]}
    assert [entry.name[0] != "." for entry in (tmp_path / "cache" / "data").iterdir()] == [True]


def test_the_run_remembers_where_its_data_lies(tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    facts = corpus.data_facts(DataSource("path", "a.txt"), (tmp_path,))
    assert json.loads(json.dumps(facts)) == {"kind": "path", "value": str(tmp_path / "a.txt")}
