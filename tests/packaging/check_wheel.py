"""Builds the wheel by way of the sdist, installs it in a new environment and uses it away from the checkout.

Run by ``make wheel-check``; needs the ``build`` package.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORT_PACKAGES = {"tantra_dsl", "tantra_compiler"}


def main() -> None:
    """Build, look inside, install, use; raises on the first thing that is wrong."""
    with tempfile.TemporaryDirectory(prefix="tantra-wheel-") as folder:
        work = Path(folder)
        wheel = build(work / "dist")
        check_contents(wheel)
        use(install(wheel, work / "venv"), work)
    print(f"{wheel.name}: built, installed and used in a clean environment")


def build(dist: Path) -> Path:
    """Build an sdist from the checkout and the wheel from that sdist; returns the wheel."""
    run(sys.executable, "-m", "build", "--outdir", str(dist), str(ROOT))
    (wheel,) = dist.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """The wheel holds the two packages and every shipped resource, and nothing else."""
    names = set(zipfile.ZipFile(wheel).namelist())
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == IMPORT_PACKAGES, f"top-level entries {sorted(top)}"
    native = ROOT / "compiler" / "tantra_compiler" / "kernels" / "native"
    wanted = {f"tantra_dsl/{path.relative_to(ROOT)}" for path in resources()} | {
        "tantra_dsl/py.typed",
        "tantra_compiler/py.typed",
        *(f"tantra_compiler/kernels/native/{path.name}" for path in native.glob("*.[ch]")),
    }
    assert wanted <= names, f"not in the wheel: {sorted(wanted - names)}"


def resources() -> list[Path]:
    """The grammar, the shipped specs and the error pages, in the checkout."""
    patterns = ("grammars/*.lark", "specs/**/*.tantra", "docs/errors/*.md")
    found = [sorted(ROOT.glob(pattern)) for pattern in patterns]
    assert all(found), f"nothing matches one of {patterns}"
    return [path for paths in found for path in paths]


def install(wheel: Path, folder: Path) -> Path:
    """A new environment with the wheel and what it depends on; returns its ``bin``."""
    venv.create(folder, with_pip=True)
    constraints = str(ROOT / "constraints.txt")
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", "--constraint", constraints, str(wheel))
    run(*pip, "check")
    return folder / "bin"


def use(bin_folder: Path, work: Path) -> None:
    """Run the installed command in an empty folder, and the model it compiles without tantra."""
    empty = work / "empty"
    empty.mkdir()
    tantra = str(bin_folder / "tantra")
    assert "gpt2" in run(tantra, "list", cwd=empty)
    run(tantra, "check", "gpt2", "shakespeare", cwd=empty)
    assert "124,439,808" in run(tantra, "show", "gpt2", cwd=empty)
    assert "L0101" in run(tantra, "explain", "L0101", cwd=empty)
    run(tantra, "compile", "shakespeare", "--standalone", "-o", "model.py", cwd=empty)
    blocked = "import sys; sys.modules['tantra_dsl'] = sys.modules['tantra_compiler'] = None; import model"
    run(str(bin_folder / "python"), "-c", blocked, cwd=empty)


def run(*command: str, cwd: Path = ROOT) -> str:
    """Run ``command``, show it and what it says, and return its standard output."""
    print("$", *command, flush=True)
    done = subprocess.run(command, cwd=cwd, text=True, stdout=subprocess.PIPE, check=False)
    print(done.stdout, end="", flush=True)
    if done.returncode:
        sys.exit(f"exit status {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
