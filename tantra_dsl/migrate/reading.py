"""Reading the tensors of a source."""

from __future__ import annotations

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.diagnostics.migration import DamagedWeights
from tantra_dsl.diagnostics.training import at_path
from tantra_dsl.migrate.source import Source


def loaded(source: Source) -> dict[str, Tensor]:
    """Every tensor of ``source``. Raises SpecError with W0102 where the library refuses a file."""
    found: dict[str, Tensor] = {}
    for file in sorted({stored.file for stored in source.tensors.values()}):
        try:
            found |= load_file(file)
        except (SafetensorError, OSError) as error:
            problem = DamagedWeights(span=at_path(file), path=str(file), reason=str(error).lower())
            raise SpecError([problem]) from None
    return found
