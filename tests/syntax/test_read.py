"""Files that are specs, and files that are none."""

from __future__ import annotations

import os

import pytest

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.syntax.read import MAX_BYTES, read_source


def refused(path):
    sink = Sink()
    assert read_source(path, sink) is None
    (found,) = sink.items
    return found


@pytest.mark.parametrize(
    ("name", "language"),
    [("a.tantra", "text"), ("a.yaml", "yaml"), ("a.yml", "yaml"), ("a.YAML", "yaml"), ("a", "text")],
)
def test_language_follows_from_the_name(tmp_path, name, language):
    (tmp_path / name).write_text("a: é\r\n", encoding="utf-8", newline="")
    source = read_source(tmp_path / name, Sink())
    assert (source.text, source.language, source.name) == ("a: é\r\n", language, str(tmp_path / name))


def test_byte_order_mark_is_dropped(tmp_path):
    (tmp_path / "a.tantra").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_source(tmp_path / "a.tantra", Sink()).text == "a: 1"


def test_missing(tmp_path):
    assert refused(tmp_path / "a.tantra").code == "F0101"
    (tmp_path / "file").touch()
    assert refused(tmp_path / "file" / "a.tantra").code == "F0101"


def test_directories_devices_and_pipes(tmp_path):
    assert refused(tmp_path).title.endswith("is a directory, not a spec file")
    os.mkfifo(tmp_path / "pipe.tantra")
    assert refused(tmp_path / "pipe.tantra").code == "F0102"
    from pathlib import Path

    assert refused(Path("/dev/zero")).code == "F0102"


def test_size_limit_is_exact_and_said(tmp_path):
    path = tmp_path / "a.tantra"
    path.write_bytes(b" " * MAX_BYTES)
    assert len(read_source(path, Sink()).text) == MAX_BYTES
    path.write_bytes(b" " * (MAX_BYTES + 1))
    found = refused(path)
    assert found.code == "F0103"
    assert "8 MB" in found.title


def test_a_hundred_megabytes_are_not_read(tmp_path):
    path = tmp_path / "a.tantra"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    assert refused(path).title.startswith(f"{path} has 100.0 MB")


@pytest.mark.parametrize(
    ("data", "place", "byte"),
    [(b"a: 1\nb: \xff", ":2:4", "0xff"), (b"\xc3", ":1:1", "0xc3"), ("é é".encode() + b"\x80", ":1:4", "0x80")],
)
def test_not_utf8_is_placed(tmp_path, data, place, byte):
    path = tmp_path / "a.tantra"
    path.write_bytes(data)
    found = refused(path)
    assert found.code == "F0104"
    assert found.span.location == f"{path}{place}"
    assert byte in found.title


def test_unreadable(tmp_path):
    path = tmp_path / "loop.tantra"
    path.symlink_to(path)
    assert refused(path).code == "F0105"
    assert refused(tmp_path / ("a" * 300)).code == "F0105"
    assert refused(tmp_path / "a\0b").code == "F0105"
