"""The public API: load a spec, check it, take its graph, compile it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tantra_dsl.diagnostics.core import Diagnostic, Sink, SpecError
from tantra_dsl.diagnostics.semantics import NoModel, UnknownSpec
from tantra_dsl.semantics import expectations, extend, library, model
from tantra_dsl.semantics.recipe import Recipe, resolve_recipe
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import Source, Span

if TYPE_CHECKING:
    from torch import nn

    from tantra_dsl.graph.model import Graph


@dataclass(frozen=True)
class ShippedSpec:
    """A model that ships: its name, its file, and one line about it."""

    name: str
    path: Path
    summary: str


def shipped() -> list[ShippedSpec]:
    """Every model that ships, by name."""
    found = library.shipped_models()
    return [ShippedSpec(name, path, _summary(path)) for name, path in sorted(found.items())]


def _summary(path: Path) -> str:
    """The first comment of a file."""
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def load(spec: str | Path, *, sets: Sequence[str] = ()) -> Spec:
    """Read a spec: a path, ``path:model`` where a file holds several, or the name of a shipped model.

    ``sets`` are overrides ``path=value`` as for ``--set``. Raises SpecError where the spec cannot be read or parsed;
    mistakes of meaning are told by ``Spec.check``.
    """
    sink = Sink()
    unit, wanted = _find(str(spec), sink)
    if unit is None or sink.errors:
        raise SpecError(sink.sorted())
    return spec_of(unit, wanted, sets, sink)


def loads(text: str, *, name: str = "<text>", language: str = "text", sets: Sequence[str] = ()) -> Spec:
    """Read a spec from a string; it may use shipped specs but no files. Raises SpecError."""
    sink = Sink()
    unit = library.Reader(sink).take(Source(name, text, language), None, None)
    if unit is None or sink.errors:
        raise SpecError(sink.sorted())
    return spec_of(unit, "", sets, sink)


def _find(spec: str, sink: Sink) -> tuple[library.Unit | None, str]:
    reader = library.Reader(sink)
    path, wanted = Path(spec), ""
    if not path.exists() and ":" in spec:
        before, _, after = spec.rpartition(":")
        if Path(before).exists() or before in library.shipped_models():
            path, wanted, spec = Path(before), after, before
    if (
        path.suffix in (".tantra", ".yaml", ".yml")
        or "/" in spec
        or (path.exists() and spec not in library.shipped_models())
    ):
        return reader.read(path), wanted
    shipped_path = library.shipped_models().get(spec)
    if shipped_path is None:
        source = Source(spec, "")
        sink.add(UnknownSpec(span=Span(source, 0, 0), name=spec, candidates=tuple(library.shipped_models())))
        return None, ""
    from tantra_dsl.resources import specs_path

    return reader.read(shipped_path, specs_path(), shipped=True), wanted or spec


def spec_of(unit: library.Unit, wanted: str, sets: Sequence[str], sink: Sink) -> Spec:
    """The model ``wanted`` of a unit that has been read, or the one that it stands for. Raises SpecError."""
    models = unit.models()
    name = wanted or _default_model(unit, models)
    if name not in models:
        span = Span(unit.source, 0, 0)
        sink.add(NoModel(span=span, wanted=name, models=tuple(models)))
        raise SpecError(sink.sorted())
    return Spec(unit, models[name], tuple(sets))


def _default_model(unit: library.Unit, models: dict[str, tree.Definition]) -> str:
    stem = unit.path.stem if unit.path is not None else ""
    if stem in models or len(models) == 1:
        return stem if stem in models else next(iter(models))
    bases = {model.extends.id for model in models.values() if isinstance(model.extends, tree.Name)}
    roots = [name for name in models if name in bases]
    return roots[0] if len(roots) == 1 else ""


@dataclass(eq=False)
class Spec:
    """One model of a spec. Everything is worked out when it is asked for, once."""

    unit: library.Unit
    definition: tree.Definition
    sets: tuple[str, ...] = ()
    _sink: Sink = field(default_factory=Sink)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.definition.name or "model"

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of all models in the file."""
        return tuple(self.unit.models())

    @cached_property
    def merged(self) -> tree.Definition:
        """The model with what it extends and every override merged in."""
        return extend.with_sets(model.merged_model(self.unit, self.definition, self._sink), self.sets, self._sink)

    @cached_property
    def elaborated(self) -> model.Elaborated:
        """What came of the model, mistakes or not: for those who look into it (`diff`)."""
        prelude, standard = library.prelude()
        merged = self.merged
        if self._sink.errors:
            return model.Elaborated()
        result = model.elaborate(self.unit, merged, prelude, standard, self._sink)
        result.changed = any(not text.lstrip().startswith("train.") for text in self.sets)
        if result.graph is not None:
            expectations.check(result, self._sink)
        return result

    @cached_property
    def _recipe(self) -> Recipe:
        return resolve_recipe(self.elaborated.settings, self._sink)

    def check(self) -> list[Diagnostic]:
        """Every mistake and warning, by place; an empty list when the spec is sound."""
        _ = self.elaborated, self._recipe
        return self._sink.sorted()

    def _sound(self) -> None:
        self.check()
        if self._sink.errors:
            raise SpecError(self._sink.sorted())

    def graph(self) -> Graph:
        """The typed graph. Raises SpecError where the spec has mistakes."""
        self._sound()
        graph = self.elaborated.graph
        assert graph is not None
        return graph

    def recipe(self) -> Recipe:
        """The recipe of the ``train`` section, with defaults. Raises SpecError."""
        self._sound()
        return self._recipe

    def hash(self) -> str:
        """SHA-256 of the architecture: independent of spelling, names of variables, recipe and initialisation."""
        from tantra_dsl.graph.hash import architecture_hash

        return architecture_hash(self.graph())

    def to_text(self) -> str:
        """The file as canonical ``.tantra`` text, comments kept."""
        from tantra_dsl.syntax.format import format_text

        return format_text(self.unit.file, self.unit.source)

    def to_yaml(self) -> str:
        """The file as canonical YAML, comments kept."""
        from tantra_dsl.syntax.format import format_yaml

        return format_yaml(self.unit.file, self.unit.source)

    def resolved_text(self) -> str:
        """One text without imports, ``extends`` or overrides that means the same model."""
        from tantra_dsl.syntax.format import format_text

        return format_text(tree.File(tuple(self._flattened())))

    def _flattened(self) -> list[tree.Member]:
        members: dict[str, tree.Member] = {}
        for unit in self.unit.everything():
            for member in unit.file.members:
                if isinstance(member, tree.Definition) and member.kind == "model":
                    continue
                if isinstance(member, tree.Definition | tree.Let | tree.Share) and member.name:
                    members[member.name] = member
        return [*members.values(), self._without_set_aside()]

    def _without_set_aside(self) -> tree.Definition:
        """The merged model; what it expected of itself is left out once it was changed from outside."""
        body = self.merged.body
        if not self.elaborated.changed or not isinstance(body, tree.Body):
            return self.merged
        kept = tuple(member for member in body.members if not isinstance(member, tree.Expect))
        return replace(self.merged, body=replace(body, members=kept))

    def source(self, *, standalone: bool = False) -> str:
        """The PyTorch source of the model; ``standalone`` needs only torch. Raises SpecError."""
        from tantra_compiler import emit_source

        return emit_source(self.graph(), self.options(standalone=standalone))

    def options(self, **changes: Any) -> Any:
        """The compiler's options as the recipe sets them, with ``changes``."""
        from tantra_compiler import CompileOptions

        recipe = self.recipe()
        return CompileOptions(**{"dropout": recipe.dropout, "label_smoothing": recipe.label_smoothing, **changes})

    def compile(self, **changes: Any) -> nn.Module:
        """The model as a PyTorch module; ``changes`` are those of ``CompileOptions``. Raises SpecError.

        Its weights are started as the spec says, from ``seed`` or, without one, from torch's generator.
        """
        from tantra_compiler import compile_graph

        return compile_graph(self.graph(), self.options(**changes))

    def _repr_html_(self) -> str:
        """What a notebook shows: the diagram and a few figures; the mistakes where there are any."""
        try:
            from tantra_dsl.draw.page import small

            return small(self)
        except SpecError as error:
            return _mistakes_html(error)

    def _repr_svg_(self) -> str | None:
        """The diagram alone; None where the spec has mistakes."""
        try:
            from tantra_dsl.draw import picture, svg

            return svg(picture(self.graph()))
        except SpecError:
            return None


def _mistakes_html(error: SpecError) -> str:
    from html import escape

    from tantra_dsl.diagnostics.render import render_terminal

    return f"<pre>{escape(render_terminal(error.diagnostics, color=False))}</pre>"
