"""What was asked of training, checked as far as it can be before the tensor library is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tantra_dsl.diagnostics.core import Sink, SpecError
from tantra_dsl.diagnostics.training import OtherSpec, at_path
from tantra_dsl.semantics.recipe import DataSource
from tantra_dsl.semantics.recipe_keys import BUNDLED
from tantra_dsl.train import folder
from tantra_dsl.train.corpus import find_data
from tantra_dsl.train.differences import differences
from tantra_dsl.train.folder import RunFolder
from tantra_dsl.train.objective import objective_of
from tantra_dsl.train.plan import check_effects, context_of
from tantra_dsl.train.protocol import Loader, SpecLike


@dataclass(frozen=True)
class Request:
    """What was asked for: a spec or a run to resume (or both), and where to show progress."""

    spec: SpecLike
    data: DataSource | None
    bases: tuple[Path, ...]
    folder: RunFolder
    resumed: bool
    device: str
    stream: TextIO | None


def source_of(data: str) -> DataSource:
    """The source that ``--data`` names: a bundled text, a TSV of pairs, or a path."""
    if data in BUNDLED and not Path(data).exists():
        return DataSource("bundled", data)
    return DataSource("pairs" if data.endswith(".tsv") else "path", data)


def new_request(spec: SpecLike, data: str | None, out: Path | None, device: str, stream: TextIO | None) -> Request:
    """A request for a new run."""
    recipe = spec.recipe()
    source = source_of(data) if data is not None else recipe.data
    place = folder.fresh(out, spec.name)
    beside = Path(recipe.span("data").source.name).parent
    bases = (Path.cwd(),) if data is not None else (beside, Path.cwd())
    return Request(spec, source, bases, place, False, device, stream)


def resume_request(resume: Path, spec: SpecLike | None, load: Loader, device: str, stream: TextIO | None) -> Request:
    """A request to go on with the run in ``resume``. Raises SpecError with R0307, or R0304 for another ``spec``."""
    place = RunFolder(resume)
    facts = place.read_facts()
    kept = load(place.spec)
    chosen = kept if spec is None else spec
    if chosen.hash() != facts["hash"]:
        found = differences(kept, chosen)
        raise SpecError([OtherSpec(span=at_path(resume), folder=str(resume), differences=found)])
    source = DataSource(**facts["data"])
    return Request(chosen, source, (Path.cwd(),), place, True, device, stream)


def check(request: Request) -> None:
    """Raises SpecError for what the spec, its recipe and the data's place already show to be wrong."""
    recipe, graph = request.spec.recipe(), request.spec.graph()
    objective = objective_of(graph, recipe.span("data"))
    context_of(recipe, graph)
    find_data(request.data, objective, recipe, request.bases)
    sink = Sink()
    check_effects(recipe, graph, sink)
    if sink.errors:
        raise SpecError(sink.sorted())
