"""Reading the tensors of a source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.diagnostics.migration import DamagedWeights
from tantra_dsl.diagnostics.training import at_path
from tantra_dsl.migrate.source import Source

_KINDS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class Reading(Mapping[str, Tensor]):
    """The tensors of a source, each read when it is asked for and not kept.

    Raises SpecError with W0102 where the library refuses a file.
    """

    def __init__(self, source: Source) -> None:
        self._stored = source.tensors

    @property
    def kinds(self) -> dict[str, torch.dtype]:
        """The tensors' types."""
        return {name: _KINDS[stored.dtype] for name, stored in self._stored.items()}

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __getitem__(self, name: str) -> Tensor:
        file = self._stored[name].file
        try:
            with safe_open(file, framework="pt") as opened:
                tensor: Tensor = opened.get_tensor(name)
        except (SafetensorError, OSError) as error:
            problem = DamagedWeights(span=at_path(file), path=str(file), reason=str(error).lower())
            raise SpecError([problem]) from None
        return tensor
