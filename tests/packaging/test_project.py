"""The project's files agree with each other."""

from __future__ import annotations

import importlib.util
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(*extras: str) -> list[Requirement]:
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in PROJECT["optional-dependencies"][extra])]
    return [Requirement(text) for text in texts if not text.startswith("tantra-dsl")]


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    found = {canonicalize_name(name): Version(version) for name, version in pairs}
    assert len(found) == len(pairs), "a package is pinned twice"
    return found


@pytest.mark.parametrize("requirement", requirements("test", "dev", "bench"), ids=str)
def test_every_requirement_is_pinned_inside_its_range(requirement: Requirement) -> None:
    assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def build_hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("version", "included"), [("standard", True), ("editable", False)])
def test_the_wheel_holds_the_resources_and_an_editable_install_none(version: str, included: bool) -> None:
    module = build_hook()
    data: dict[str, Any] = {"force_include": {}}
    hook = module.ResourceHook(str(ROOT), {}, None, None, "", "wheel")
    hook.initialize(version, data)
    folders = {Path(source): target for source, target in data["force_include"].items()}
    assert all(folder.is_dir() for folder in folders)
    assert set(folders.values()) == ({f"tantra_dsl/{name}" for name in module.RESOURCES} if included else set())


@pytest.mark.parametrize(
    ("probe", "advice"),
    [("version_info", "needs Python 3.11 or newer"), ("ensurepip", "apt-get install python3-venv")],
)
def test_make_says_what_an_unfit_python_lacks(probe: str, advice: str, tmp_path: Path) -> None:
    """An interpreter that is too old, and Debian's without python3-venv, end ``make`` with advice."""
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\ncase "$2" in *{probe}*) exit 1;; esac\n', encoding="utf-8")
    fake.chmod(0o755)
    command = ["make", "test", f"PYTHON={fake}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode != 0
    assert advice in done.stderr
