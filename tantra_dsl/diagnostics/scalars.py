"""M: masks that leave a query nothing to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tantra_dsl.diagnostics.core import Diagnostic, Note


@dataclass(frozen=True, kw_only=True)
class RowWithoutKey(Diagnostic):
    """M0101: a mask under which some query has no key, whatever the batch holds."""

    code: ClassVar[str] = "M0101"
    severity: ClassVar[Literal["error", "warning"]] = "warning"
    path: str
    mask: str
    row: int

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"the mask `{self.mask}` of {self.path} leaves the query at position {self.row} without a key"

    @property
    def notes(self) -> tuple[Note, ...]:
        """What happens then."""
        return (Note("the result of such a query is zero"),)

    @property
    def help(self) -> str:
        """What to do."""
        return "if that is not meant, let every position see itself: `... or k == q`"


@dataclass(frozen=True, kw_only=True)
class MaskAllowsNothing(Diagnostic):
    """M0102: a mask that allows no key to any query."""

    code: ClassVar[str] = "M0102"
    path: str
    mask: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"the mask `{self.mask}` of {self.path} allows no key to any query"

    @property
    def notes(self) -> tuple[Note, ...]:
        """What would happen."""
        return (Note("the attention would always give zero"),)

    @property
    def help(self) -> str:
        """What to do."""
        return "use a mask that some pair of positions satisfies, such as `causal`"
