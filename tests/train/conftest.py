import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Tokenised data is kept apart from the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TANTRA_CACHE", str(folder))
    return folder


@pytest.fixture
def text_file(tmp_path):
    """A small text with some structure: counting in words."""
    path = tmp_path / "text.txt"
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    path.write_text("\n".join(" ".join(words[int(digit)] for digit in str(number)) for number in range(1500)))
    return path
