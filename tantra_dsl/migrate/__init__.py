"""Weights carried over to a variant of their model.

``plan`` tells for every tensor where it comes from and what is claimed of the result; ``carry_out`` does it.
"""

# The modules of elaboration import each other; this is the one that may be first.
import tantra_dsl.semantics.evaluate  # noqa: F401
from tantra_dsl.migrate.claim import Claim
from tantra_dsl.migrate.migration import Migration, carry_out, plan
from tantra_dsl.migrate.planning import Options
from tantra_dsl.migrate.source import Source, find

__all__ = ["Claim", "Migration", "Options", "Source", "carry_out", "find", "plan"]
