"""From a graph to a module that runs."""

from __future__ import annotations

import hashlib
import importlib.util
import linecache
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tantra_compiler.options import CompileOptions
from tantra_compiler.passes.add_norm import FuseAddNorm
from tantra_compiler.passes.base import Pass, run_passes
from tantra_compiler.passes.constants import FoldConstants
from tantra_compiler.passes.dropout import SeedDropout
from tantra_compiler.passes.kernels import ChooseKernels
from tantra_compiler.passes.linear_loss import FuseLinearLoss
from tantra_compiler.passes.mapped import FuseActivations
from tantra_compiler.passes.narrow_norms import NarrowNorms
from tantra_compiler.passes.norms import FuseNorms
from tantra_compiler.passes.packed import PackLinears
from tantra_compiler.passes.qk_rope import TurnHeads
from tantra_compiler.passes.recipe import ApplyRecipe
from tantra_compiler.passes.repeated import DropUnread, ShareRepeated
from tantra_dsl.graph.model import Graph

if TYPE_CHECKING:
    from torch import nn


def pipeline(options: CompileOptions) -> list[Pass]:
    """The passes that ``options`` ask for, in order."""
    passes: list[Pass] = [
        ApplyRecipe(options.dropout, options.label_smoothing),
        FoldConstants(),
        ShareRepeated(),
        DropUnread(),
        FuseLinearLoss(),
        PackLinears(),
        FuseNorms(),
        TurnHeads(),
        FuseAddNorm(),
        NarrowNorms(),
        FuseActivations(),
        SeedDropout(),
        ChooseKernels(tuple(options.kernels.items())),
    ]
    return [each for each in passes if each.name not in options.without]


def emit_source(graph: Graph, options: CompileOptions | None = None) -> str:
    """Python source of the model."""
    from tantra_compiler.emit.module import emit

    options = options or CompileOptions()
    return emit(run_passes(graph, pipeline(options)), graph, graph_digest(graph), options.standalone)


def compile_graph(graph: Graph, options: CompileOptions | None = None) -> nn.Module:
    """The model as a module, its weights started as the spec says; every primitive of the language can be compiled."""
    import torch

    options = options or CompileOptions()
    source = emit_source(graph, options)
    model = made_without_starts(load_source(source, graph.name))
    if options.device == "meta":
        return model
    model = model.to_empty(device=options.device)
    seed = int(torch.randint(2**62, ())) if options.seed is None else options.seed
    model.init_weights(seed)  # type: ignore[operator]
    return model


def made_without_starts(model_class: type[nn.Module]) -> nn.Module:
    """A model on the meta device, without torch's own starts: on that device they take seconds and do nothing."""
    import torch
    from torch.overrides import TorchFunctionMode

    class LeaveAsTheyAre(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__module__", None) == "torch.nn.init":
                return args[0] if args else kwargs["tensor"]
            return func(*args, **(kwargs or {}))

    with torch.device("meta"), LeaveAsTheyAre():
        return model_class()


def graph_digest(graph: Graph) -> str:
    """The graph's hash."""
    from tantra_dsl.graph.hash import full_hash

    return full_hash(graph)


def load_source(source: str, name: str) -> type[nn.Module]:
    """The model's class from emitted ``source``, which is kept in a file so that tracebacks show it."""
    from tantra_compiler.emit.names import identifier

    digest = hashlib.blake2b(source.encode(), digest_size=12).hexdigest()
    module_name = f"tantra_emitted_{digest}"
    if module_name not in sys.modules:
        sys.modules[module_name] = _imported(source, module_name, f"{identifier(name)}_{digest}.py")
    classes = [value for value in vars(sys.modules[module_name]).values() if hasattr(value, "spec_hash")]
    model: type[nn.Module] = classes[-1]
    return model


def _imported(source: str, module_name: str, file_name: str) -> ModuleType:
    path = _kept_file(source, file_name)
    spec = importlib.util.spec_from_loader(module_name, loader=None, origin=path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = path
    sys.modules[module_name] = module
    exec(compile(source, path, "exec"), module.__dict__)
    return module


def _kept_file(source: str, file_name: str) -> str:
    """Path of a file that holds ``source``; where none can be written, a name that tracebacks can still look up."""
    try:
        return written_file(source, cache_folder() / file_name)
    except OSError:
        path = f"<tantra {file_name}>"
        linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
        return path


def written_file(source: str, path: Path) -> str:
    """Path of the file, written beside and renamed, so that many processes can write one at once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, suffix=".py")
        with os.fdopen(handle, "w") as file:
            file.write(source)
        os.replace(beside, path)
    return str(path)


def cache_folder() -> Path:
    """Where emitted source is kept: ``$XDG_CACHE_HOME/tantra/modules``, or the same below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "tantra" / "modules"
