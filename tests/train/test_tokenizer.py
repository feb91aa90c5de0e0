"""Text to tokens and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tantra_dsl.train import tokenizer
from tantra_dsl.train.tokenizer import Bytes, Characters, UnknownCharacters, learn_bpe, learn_characters, stream_text

any_text = st.text(st.characters(exclude_categories=["Cs"]))
SAMPLE = "the cat sat on the mat\nand the dog ate the cat\n\n  naïve ☃ text\t\n" * 50


@pytest.fixture(scope="module")
def bpe():
    return learn_bpe([SAMPLE], 300, ())


@given(any_text)
def test_bytes_round_trip(text):
    assert "".join(stream_text(Bytes(), Bytes().encode(text).tolist())) == text


@given(any_text)
def test_characters_round_trip(text):
    made = learn_characters([text], ("mask",))
    ids = made.encode(text)
    assert "".join(stream_text(made, ids.tolist())) == text
    assert made.base == len(set(text))


@given(any_text)
def test_byte_pairs_round_trip_text_they_never_saw(text):
    made = learn_bpe(["abc abc abd"], 260, ())
    assert "".join(stream_text(made, made.encode(text).tolist())) == text


def test_byte_pairs_merge_what_is_frequent(bpe):
    assert 256 < bpe.base <= 300
    assert len(bpe.encode(SAMPLE)) < len(SAMPLE.encode()) / 2


def test_cutting_long_text_into_pieces_changes_no_token(bpe, monkeypatch):
    whole = bpe.encode(SAMPLE)
    monkeypatch.setattr(tokenizer, "_PIECE", 10)
    assert len(list(tokenizer._pieces(SAMPLE))) > 50
    np.testing.assert_array_equal(bpe.encode(SAMPLE), whole)


def test_special_tokens_come_last_and_stand_for_no_text():
    for made in (Bytes(("pad", "mask")), Characters("ab", ("pad", "mask")), learn_bpe(["aa"], 260, ("pad", "mask"))):
        assert tokenizer.size(made) == made.base + 2
        assert tokenizer.special(made, "mask") == made.base + 1
        assert made.token_bytes(made.base + 1) == b""


def test_special_tokens_count_in_the_size_of_a_bpe():
    assert tokenizer.size(learn_bpe([SAMPLE], 280, ("mask",))) == 280


def test_characters_name_what_they_do_not_know():
    with pytest.raises(UnknownCharacters) as caught:
        Characters("abc").encode("abxay☃")
    assert set(caught.value.characters) == {"x", "y", "☃"}


@pytest.mark.parametrize("made", [Bytes(("pad",)), Characters("\na☃", ()), learn_bpe(["abab"], 260, ("mask",))])
def test_saved_tokenizers_load(made):
    again = tokenizer.load(tokenizer.dump(made))
    assert again == made
    np.testing.assert_array_equal(again.encode("a\na"), made.encode("a\na"))


@given(st.lists(st.integers(0, 255)))
def test_any_bytes_stream_as_valid_text(tokens):
    pieces = list(stream_text(Bytes(), tokens))
    assert "".join(pieces) == bytes(tokens).decode("utf-8", errors="replace")
    "".join(pieces).encode("utf-8")


def test_a_character_is_given_out_whole_and_at_once():
    assert list(stream_text(Bytes(), "é☃a".encode())) == ["é", "☃", "a"]
