"""The mask compiler: which keys a block of queries must visit, derived from the predicate alone.

``derive`` turns a mask into a ``Plan``: intervals of keys for a block of queries (and of queries for a block of keys)
as whole-number expressions, and a three-valued test of a tile where intervals are not enough. All of it is sound: a
pair that the mask allows is never left out, and what is called full is allowed throughout.
"""

from tantra_dsl.masks.intervals import Interval
from tantra_dsl.masks.plan import Aux, Plan, Spans, derive

__all__ = ["Aux", "Interval", "Plan", "Spans", "derive"]
