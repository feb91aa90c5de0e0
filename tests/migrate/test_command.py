"""The command: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tantra_dsl
from tantra_dsl.cli import main
from tantra_dsl.migrate import find, plan
from tantra_dsl.migrate.reading import Reading
from tantra_dsl.migrate.starting import start
from tantra_dsl.migrate.stored import tensors_of
from tantra_dsl.train import checkpoint
from tests.migrate.conftest import LLAMA, SMALL, edited, module_of, random_weights
from tests.migrate.test_functions import widened

WIDE = edited(("hidden: 24", "hidden: 40"), ("model small", "model wide"))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two specs and weights of the first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TANTRA_CACHE", str(tmp_path / "cache"))
    Path("small.tantra").write_text(SMALL)
    Path("wide.tantra").write_text(WIDE)
    save_file({name: w.float() for name, w in random_weights(SMALL).items() if name in saved()}, "w.safetensors")
    return tmp_path


def saved() -> set[str]:
    return set(module_of(SMALL).state_dict())


def of_type(name: str) -> bytes:
    """A file with one number of a type."""
    header = json.dumps({"a": {"dtype": name, "shape": [1], "data_offsets": [0, 1]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0"


def names() -> set[str]:
    return {path.name for path in Path().iterdir()} - {"cache"}


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is told on standard error; nothing is left behind."""
    before = names()
    assert main(["migrate", *arguments]) == 2
    assert names() == before
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return told


def test_weights_become_those_of_the_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "w.safetensors", "--from", "small.tantra", "--to", "wide.tantra", "-o", "out"]) == 0
    shown = capsys.readouterr().out
    assert "claim: same function" in shown
    assert names() == {"small.tantra", "wide.tantra", "w.safetensors", "out"}
    spec = tantra_dsl.load("out/spec.tantra")
    assert spec.hash() == tantra_dsl.load("wide.tantra").hash()
    module = spec.compile()
    checkpoint.put_weights(module, load_file("out/weights.safetensors"), Path("out"))
    old = tantra_dsl.load("small.tantra").compile()
    checkpoint.put_weights(old, load_file("w.safetensors"), Path("w"))
    tokens = torch.randint(0, 31, (2, 8))
    assert torch.allclose(module.eval()(tokens=tokens), old.eval()(tokens=tokens), atol=1e-4)
    assert json.loads(Path("out/migration.json").read_text())["claim"]["kind"] == "same"


def test_the_result_migrates_on_without_from() -> None:
    assert main(["migrate", "w.safetensors", "--from", "small.tantra", "--to", "wide.tantra", "-o", "out"]) == 0
    assert main(["migrate", "out", "--to", "wide.tantra", "--set", "layers.ffn.hidden=48", "-o", "again"]) == 0
    assert tensors_of(Path("again/weights.safetensors"))["layers.0.ffn.up.weight"].shape == (48, 16)


def test_a_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = names()
    assert main(["migrate", "w.safetensors", "--from", "small.tantra", "--to", "wide.tantra", "--dry-run"]) == 0
    assert names() == before
    assert "columns: 24 -> 40, new ones zero" in capsys.readouterr().out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--from", "small.tantra", "--to", "wide.tantra", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["claim"]["kind"] == "same"
    assert len(found["tensors"]) == len(saved())


def test_shards_are_read_together() -> None:
    weights = load_file("w.safetensors")
    Path("shards").mkdir()
    half = len(weights) // 2
    for number, chosen in enumerate((list(weights)[:half], list(weights)[half:])):
        save_file({name: weights[name] for name in chosen}, f"shards/{number}.safetensors")
    assert set(find(Path("shards")).tensors) == set(weights)
    assert main(["migrate", "shards", "--from", "small.tantra", "--to", "wide.tantra", "-o", "out"]) == 0
    (Path("shards") / "again.safetensors").write_bytes(Path("shards/0.safetensors").read_bytes())
    assert main(["migrate", "shards", "--from", "small.tantra", "--to", "wide.tantra", "-o", "other"]) == 2


@pytest.mark.parametrize("wide", ["hidden: 40", "dim: 32"])
def test_one_tensor_of_the_old_model_is_in_memory_at_a_time(wide: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: set[str] = set()
    read: list[str] = []
    original = Reading.__getitem__

    def tracked(self: Reading, name: str) -> torch.Tensor:
        assert not alive
        tensor = original(self, name).clone()
        alive.add(name)
        read.append(name)
        weakref.finalize(tensor, alive.discard, name)
        return tensor

    monkeypatch.setattr(Reading, "__getitem__", tracked)
    text = edited(("hidden: 24", "hidden: 40")) if wide == "hidden: 40" else widened(SMALL)
    Path("wide.tantra").write_text(text)
    assert main(["migrate", "w.safetensors", "--from", "small.tantra", "--to", "wide.tantra", "-o", "out"]) == 0
    assert sorted(read) == sorted(saved())
    assert set(tensors_of(Path("out/weights.safetensors"))) == saved()


@pytest.mark.parametrize("text", [SMALL, LLAMA, "model gpt extends gpt2_denseformer { vocab: 31  dim: 24  blocks: 2 }"])
def test_a_weight_starts_alone_as_in_its_model(text: str) -> None:
    spec = tantra_dsl.loads(text)
    made = plan(spec, spec)
    whole = spec.compile(seed=7).state_dict()
    for entry in made.plan.entries:
        assert torch.equal(start(entry.new, 7), whole[entry.new.path])


def test_what_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    end = ("--from", "small.tantra", "--to", "wide.tantra", "-o", "out")
    assert "W0101" in fails(capsys, "nowhere", *end)
    Path("empty").mkdir()
    assert "W0101" in fails(capsys, "empty", *end)
    whole = Path("w.safetensors").read_bytes()
    for broken in (b"", whole[:5], whole[:60], whole[:-1], whole + b"x", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]",
                   b"\x11\0\0\0\0\0\0\0" + b'{"a":{"dtype":1}}', of_type("F8_E4M3"), of_type("X")):  # fmt: skip
        Path("w.safetensors").write_bytes(broken)
        assert "W0102" in fails(capsys, "w.safetensors", *end), broken[:60]


def test_weights_without_a_spec(capsys: pytest.CaptureFixture[str]) -> None:
    assert "W0104" in fails(capsys, "w.safetensors", "--to", "wide.tantra", "-o", "out")


def test_weights_of_another_model_say_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    told = fails(capsys, "w.safetensors", "--from", "gpt2", "--to", "wide.tantra", "-o", "out")
    assert "W0103" in told
    assert "weight embed.tokens.weight is [50257, 768] in the spec, in the file [31, 16]" in told
    told = fails(capsys, "w.safetensors", "--from", "wide.tantra", "--to", "small.tantra", "-o", "out")
    assert "nothing needs to be done" in told


def test_specs_with_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.tantra").write_text(edited(("heads: 4", "heads: 5")))
    assert "T0" in fails(capsys, "w.safetensors", "--from", "small.tantra", "--to", "bad.tantra", "-o", "out")
    assert "error" in fails(capsys, "w.safetensors", "--from", "nothing", "--to", "small.tantra", "-o", "out")
    fails(capsys, "w.safetensors", "--from", "small.tantra", "--to", "wide.tantra")
    fails(capsys, "--from", "small.tantra", "--to", "wide.tantra", "-o", "out")


def test_nothing_is_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    end = ("w.safetensors", "--from", "small.tantra", "--to", "wide.tantra", "-o")
    for name in ("w.safetensors", "small.tantra"):
        assert "W0301" in fails(capsys, *end, name)
    Path("full").mkdir()
    Path("full/x").write_text("")
    assert "W0301" in fails(capsys, *end, "full")
    Path("free").mkdir()
    assert main(["migrate", *end, "free"]) == 0


def test_a_folder_that_may_not_be_written(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    make = os.mkdir

    def refused(path: str | os.PathLike[str], *rest: object) -> None:
        if ".out.new" in os.fspath(path):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        make(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "mkdir", refused)
    end = ("w.safetensors", "--from", "small.tantra", "--to", "wide.tantra", "-o")
    assert "R0302" in fails(capsys, *end, "out")
    assert "R0302" in fails(capsys, *end, "deeper/down/out")


def test_a_disk_that_is_full_in_the_middle_of_a_file() -> None:
    """The system itself refuses to write more than 8 kB into a file."""
    command = f"ulimit -f 8; {sys.executable} -m tantra_dsl migrate w.safetensors --from small.tantra --to wide.tantra"
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root}/compiler", "PYTHONDONTWRITEBYTECODE": "1"}
    before = names()
    done = subprocess.run(["bash", "-c", f"{command} -o out"], env=environment, capture_output=True, text=True)
    assert (done.returncode, "R0303" in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr
    assert names() == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_types_of_numbers_stay(dtype: torch.dtype) -> None:
    Path("few.tantra").write_text(edited(("heads: 4,", "heads: 4, kv_heads: 2,"), ("hidden: 24", "hidden: 40")))
    save_file({name: w.to(dtype) for name, w in load_file("w.safetensors").items()}, "typed.safetensors")
    assert main(["migrate", "typed.safetensors", "--from", "small.tantra", "--to", "few.tantra", "-o", "out"]) == 0
    assert {tensor.dtype for tensor in load_file("out/weights.safetensors").values()} == {dtype}


@pytest.mark.parametrize("call", ["fsync", "rename"])
@pytest.mark.parametrize("after", range(4))
def test_a_full_disk_leaves_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, call: str,
                                    after: int) -> None:  # fmt: skip
    before, left = getattr(os, call), [after]

    def full(*arguments: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return before(*arguments)

    monkeypatch.setattr(os, call, full)
    arguments = ("w.safetensors", "--from", "small.tantra", "--to", "wide.tantra", "-o", "out")
    if call == "rename" and after:
        assert main(["migrate", *arguments]) == 0
    else:
        assert "R0303" in fails(capsys, *arguments)


def test_a_run_becomes_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.txt").write_text("\n".join("one two three four five six seven eight"[n % 13 :] for n in range(400)))
    recipe = '\n  train { data: "text.txt"  steps: 3  batch: 2  context: 8  tokenizer: characters }\n}'
    Path("small.tantra").write_text(SMALL.rstrip().removesuffix("}") + recipe)
    Path("wide.tantra").write_text(WIDE.rstrip().removesuffix("}") + recipe)
    assert main(["train", "small.tantra", "--out", "run"]) == 0
    assert main(["migrate", "run", "--to", "wide.tantra", "-o", "wider"]) == 0
    assert "tantra train --resume wider" in capsys.readouterr().err
    assert main(["sample", "wider", "--prompt", "one", "--max-new", "5"]) == 0
    assert main(["train", "--resume", "wider"]) == 0
    steps = [path.name for path in sorted((Path("wider") / "checkpoints").iterdir())]
    assert steps[-1] == "step-00000003"
    weights = next(Path("run/checkpoints").glob("step-00000003")) / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for folder in Path("run/checkpoints").glob("step-*"):
        if folder.name != "step-00000003":
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
    assert "W0102" in fails(capsys, "run", "--to", "wide.tantra", "-o", "again")
