"""Names of what the kernels take at run time, and what no kernel is compiled anew for."""

from __future__ import annotations

STRIDES = tuple(f"s{i}" for i in range(16))
NUMBERS = tuple(f"n{i}" for i in range(8))


def run_time(tensors: str, scalars: str, program: bool = True) -> list[str]:
    """Strides of the tensors by their names, the scalars, and a program's strides and numbers.

    >>> run_time("q", "keys", program=False)
    ['q_b', 'q_t', 'q_h', 'q_d', 'keys']
    """
    names = [*(f"{x}_{i}" for x in tensors.split() for i in "bthd"), *scalars.split()]
    return [*names, *STRIDES, *NUMBERS] if program else names
