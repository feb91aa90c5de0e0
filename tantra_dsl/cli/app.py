"""The commands, as typer sees them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tantra_dsl.cli.outcome import USAGE, complain, guarded

COMMAND = "tantra"

Spec = Annotated[
    str, typer.Argument(metavar="SPEC", help="A file, or the name of a shipped spec; FILE:MODEL picks a model.")
]
Specs = Annotated[list[str], typer.Argument(metavar="SPEC", help="Files, or names of shipped specs.")]
Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="Spec files, text or YAML.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; may be repeated.")
]
Kernels = Annotated[
    list[str] | None,
    typer.Option(
        "--kernel", metavar="PATH=WAY", help="Run the attention there by reference, torch or triton; may be repeated."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write; standard output if not given.")
]


class Surface(StrEnum):
    """The two spellings of a spec."""

    yaml = "yaml"
    text = "text"


class Form(StrEnum):
    """The forms of a diff."""

    text = "text"
    json = "json"
    markdown = "markdown"
    html = "html"


class Drawing(StrEnum):
    """The forms in which a model is drawn."""

    svg = "svg"
    html = "html"
    dot = "dot"


class Section(StrEnum):
    """The sections of a diff."""

    architecture = "architecture"
    numerics = "numerics"
    recipe = "recipe"


class Growth(StrEnum):
    """What further layers are when weights migrate."""

    identity = "identity"
    stack = "stack"


class NewRows(StrEnum):
    """What new rows of a vocabulary are when weights migrate."""

    mean = "mean"
    init = "init"


class Commands(TyperGroup):
    """The group, with every expected failure turned into an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that ``ctx`` holds; its return value is the exit status."""
        run_command = super().invoke
        raise typer.Exit(guarded(lambda: run_command(ctx) or 0))


app = typer.Typer(
    name=COMMAND,
    cls=Commands,
    help="A language for transformer architectures.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def run(arguments: list[str]) -> int:
    """Run ``arguments`` and return the exit status."""
    try:
        app(arguments, prog_name=COMMAND)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def _show_version(wanted: bool) -> None:
    if wanted:
        import tantra_dsl

        print(f"tantra {tantra_dsl.__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """A language for transformer architectures."""


@app.command("list")
def list_specs(json: Json = False) -> int:
    """List the specs that ship, with their parameters."""
    from tantra_dsl.cli.catalogue import list_shipped

    return list_shipped(json)


@app.command("check")
def check_specs(specs: Specs, sets: Sets = None, json: Json = False) -> int:
    """Tell every mistake of some specs at once.

    The exit status is 1 if there is any.
    """
    from tantra_dsl.cli import check

    return check.run(check.Request(tuple(specs), tuple(sets or ()), json))


@app.command("fmt")
def format_specs(
    files: Files,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit status 1 if a file would change.")
    ] = False,
) -> int:
    """Put specs into canonical form, with their comments kept."""
    from tantra_dsl.cli.rewrite import format_files

    return format_files(files, check)


@app.command("convert")
def convert_spec(
    spec: Spec, to: Annotated[Surface, typer.Option("--to", help="The spelling to write.")], output: Output = None
) -> int:
    """Write a spec as YAML or as text.

    Both spell the same tree, and nothing is lost.
    """
    import tantra_dsl
    from tantra_dsl.cli.rewrite import write_text

    loaded = tantra_dsl.load(spec)
    write_text(loaded.to_yaml() if to is Surface.yaml else loaded.to_text(), output)
    return 0


@app.command("show")
def show_spec(
    spec: Spec,
    sets: Sets = None,
    json: Json = False,
    seq: Annotated[
        int | None, typer.Option(min=1, help="Tokens per sequence; the model's context if not given.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Sequences per step.")] = 1,
    mask: Annotated[
        bool, typer.Option("--mask", help="Draw the attention masks and the tiles that kernels visit.")
    ] = False,
    positions: Annotated[bool, typer.Option("--positions", help="Draw the positional encodings.")] = False,
    form: Annotated[
        Drawing | None, typer.Option("--format", help="Draw the model: a diagram, a page, or Graphviz text.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to draw: a .svg, or for masks a .png."),
    ] = None,
) -> int:
    """Show layers, shapes, parameters, FLOPs, KV bytes and memory; or draw the model."""
    if form is not None:
        other = "--json" * json or "--mask" * mask or "--positions" * positions
        return _draw(spec, sets, form, output, seq, batch, other)
    import tantra_dsl

    if positions:
        from tantra_dsl.cli.positions import draw_positions

        return draw_positions(spec, sets or (), seq, output)

    if mask or output is not None:
        from tantra_dsl.cli.masks import draw_masks

        return draw_masks(spec, sets or (), seq, output)
    from tantra_dsl.show import recipe_cost, show_json, show_table

    loaded = tantra_dsl.load(spec, sets=sets or ())
    graph = loaded.graph()
    render = show_json if json else show_table
    print(render(graph, recipe_cost(graph, loaded.recipe(), seq=seq, batch=batch)).rstrip("\n"))
    return 0


def _draw(
    spec: str, sets: list[str] | None, form: Drawing, output: Path | None, seq: int | None, batch: int, other: str
) -> int:
    if other:
        return complain(f"--format draws the model, and {other} shows something else; use one of them", USAGE)
    from tantra_dsl.cli.drawing import draw

    return draw(spec, sets or (), form.value, output, seq=seq, batch=batch)


@app.command("compile")
def compile_spec(
    spec: Spec,
    output: Output = None,
    standalone: Annotated[bool, typer.Option("--standalone", help="Need torch alone at run time.")] = False,
    sets: Sets = None,
    kernels: Kernels = None,
) -> int:
    """Write the PyTorch source of a spec."""
    from tantra_dsl.cli.kernels import write_source

    return write_source(spec, sets or (), kernels or (), standalone, output)


@app.command("kernels")
def show_kernels(
    spec: Spec,
    target: Annotated[str, typer.Option(help="cpu, sm_80, sm_90, sm_100 or gfx942.")] = "cpu",
    sets: Sets = None,
    kernels: Kernels = None,
    json: Json = False,
) -> int:
    """Show what runs each op on a chip, and why."""
    from tantra_dsl.cli.kernels import list_kernels

    return list_kernels(spec, sets or (), kernels or (), target, json)


@app.command("train")
def train_spec(
    spec: Annotated[str | None, typer.Argument(metavar="SPEC", help="What to train; not needed with --resume.")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="FILE|NAME", help="A text file, a folder of them or a bundled set.")
    ] = None,
    sets: Sets = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The run folder; runs/<name> if not given.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="DIR", help="Go on with the run in this folder.")] = None,
) -> int:
    """Train a spec by its recipe; Ctrl-C saves, and --resume goes on."""
    from tantra_dsl.cli.training import train

    return train(spec, data=data, sets=sets or (), out=out, resume=resume)


@app.command("sample")
def sample_run(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="The text to go on from.")],
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="Choose among the k likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Choose among the likeliest tokens of mass p.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repeat a sample.")] = None,
    max_new: Annotated[int, typer.Option(min=1, help="How many tokens to add.")] = 200,
) -> int:
    """Let a trained run write on from a prompt."""
    from tantra_dsl.cli.training import sample

    return sample(run, prompt, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, max_new=max_new)


@app.command("diff")
def diff_specs(
    specs: Annotated[list[str], typer.Argument(metavar="A B", help="Two specs; REV:PATH reads one from git.")],
    form: Annotated[Form, typer.Option("--format", help="The form of the answer.")] = Form.text,
    seq: Annotated[
        int | None, typer.Option(min=1, help="Tokens per sequence; the shorter context if not given.")
    ] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit status 1 where the function differs.")] = False,
    only: Annotated[Section | None, typer.Option(help="List only these changes.")] = None,
    git: Annotated[bool, typer.Option("--git", help="Take git's arguments: see docs/diff.md.")] = False,
) -> int:
    """Tell what is different between two models: the function, its costs, the weights, the recipe.

    The exit status is 2 where a spec cannot be read or has mistakes.
    """
    if git:
        from tantra_dsl.cli.driver import git_diff

        return git_diff(specs, form=form.value, seq=seq)
    from tantra_dsl.cli import comparing

    return comparing.diff_specs(specs, form=form.value, seq=seq, exit_code=exit_code, only=only and only.value)


@app.command("patch")
def patch_spec(
    before: Annotated[str, typer.Argument(metavar="A", help="The spec to build on.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The spec to become.")],
    output: Output = None,
) -> int:
    """Write a spec that extends A and turns it into B."""
    from tantra_dsl.cli.comparing import patch_spec

    return patch_spec(before, after, output)


@app.command("migrate")
def migrate_weights(
    to: Annotated[str, typer.Option("--to", metavar="SPEC", help="The spec that is to have the weights.")],
    weights: Annotated[
        Path | None, typer.Argument(metavar="RUN|WEIGHTS", help="A run, a .safetensors file, or a folder of them.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="A new folder for the result.")] = None,
    origin: Annotated[
        str | None, typer.Option("--from", metavar="SPEC", help="The spec that the weights are of.")
    ] = None,
    layers: Annotated[Growth, typer.Option(help="What further layers are.")] = Growth.identity,
    new_rows: Annotated[NewRows, typer.Option(help="What new rows of a vocabulary are.")] = NewRows.mean,
    start_missing: Annotated[
        bool, typer.Option("--init-missing", help="Start what has no rule as the spec says.")
    ] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Leave out what has no place in the new model.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="What is started draws from this seed.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan alone.")] = False,
    json: Json = False,
    sets: Sets = None,
) -> int:
    """Carry weights over to a variant of their model.

    The plan is printed first: where each tensor comes from, and whether the function stays the same.
    """
    from tantra_dsl.cli.migrating import Request, migrate
    from tantra_dsl.migrate import Options

    options = Options(layers.value, new_rows.value, start_missing, drop)
    return migrate(Request(weights, to, out, origin, sets or (), options, seed, dry_run, json))


@app.command("explain")
def explain_code(
    code: Annotated[
        str | None,
        typer.Argument(metavar="CODE|SPEC", help="A code such as K0301, all of them if not given; or a spec."),
    ] = None,
    path: Annotated[
        str | None, typer.Argument(metavar="PATH", help="A value of the spec, such as layers.attention.heads.")
    ] = None,
    sets: Sets = None,
) -> int:
    """Show the page of an error code, or where a value of a spec comes from."""
    from tantra_dsl.cli.pages import explain, list_codes

    if code is not None and path is not None:
        from tantra_dsl.cli.comparing import explain_path

        return explain_path(code, path, sets or ())
    return list_codes() if code is None else explain(code)
