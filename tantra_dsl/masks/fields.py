"""The arrays that plans read besides a mask's own captures, in plain Python: the oracle of every other reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from tantra_dsl.masks.plan import Aux, Plan
from tantra_dsl.scalars.evaluate import Read, Value, evaluate, no_captures

Array = list[int]


def with_aux(plan: Plan, queries: int, keys: int, batch: int = 1, read: Read = no_captures) -> Read:
    """A ``read`` for the expressions of a plan, given one for the mask's captures: [batch, keys] fields."""
    arrays = [[_array(aux, b, queries, keys, read) for b in range(batch)] for aux in plan.aux]
    own = len(plan.captures)

    def both(capture: int, index: tuple[Value, ...]) -> Value:
        if capture < own:
            return read(capture, index)
        row = arrays[capture - own][int(index[0])]
        return row[int(index[1])] if len(index) > 1 else row[0]

    return both


def _array(aux: Aux, b: int, queries: int, keys: int, read: Read) -> Array:
    if aux.field is not None:
        values = [read(aux.field, (b, p)) for p in range(keys)]
        return _FIELDS[aux.kind](values)
    assert aux.predicate is not None
    lengths = {"b": b, "queries": queries, "keys": keys}
    holds = [bool(evaluate(aux.predicate, lengths | {"p": p}, read)) for p in range(keys)]
    return [_PREDICATES[aux.kind](holds)]


def _run_start(values: Sequence[Value]) -> Array:
    starts: Array = []
    for place, value in enumerate(values):
        starts.append(starts[-1] if place and values[place - 1] == value else place)
    return starts


def _run_stop(values: Sequence[Value]) -> Array:
    last = len(values)
    return [last - start for start in reversed(_run_start(list(reversed(values))))]


def _one_way(values: Sequence[Value]) -> bool:
    steps = list(pairwise(values))
    return all(a <= b for a, b in steps) or all(a >= b for a, b in steps)


def _same_start(values: Sequence[Value]) -> Array:
    return _run_start(values) if _one_way(values) else [0] * len(values)


def _same_stop(values: Sequence[Value]) -> Array:
    return _run_stop(values) if _one_way(values) else [len(values)] * len(values)


def _low(holds: Sequence[bool]) -> int:
    return holds.index(True) if any(holds) else len(holds)


def _high(holds: Sequence[bool]) -> int:
    return len(holds) - list(reversed(holds)).index(True) if any(holds) else 0


def _solid(holds: Sequence[bool]) -> int:
    return int(all(holds[_low(holds) : _high(holds)]))


_FIELDS: dict[str, Callable[[Sequence[Value]], Array]] = {
    "run_start": _run_start, "run_stop": _run_stop, "same_start": _same_start, "same_stop": _same_stop,
}  # fmt: skip
_PREDICATES: dict[str, Callable[[Sequence[bool]], int]] = {"low": _low, "high": _high, "solid": _solid}
