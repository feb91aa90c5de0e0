"""Results that are kept for the arguments that they were computed from."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import torch

Given = ParamSpec("Given")
Made = TypeVar("Made")


def remembered(size: int) -> Callable[[Callable[Given, Made]], Callable[Given, Made]]:
    """Let a function keep its last ``size`` results; torch.compile sees the function itself."""

    def wrap(function: Callable[Given, Made]) -> Callable[Given, Made]:
        kept = lru_cache(maxsize=size)(function)

        @wraps(function)
        def call(*args: Given.args, **keywords: Given.kwargs) -> Made:
            return function(*args, **keywords) if torch.compiler.is_compiling() else kept(*args, **keywords)  # type: ignore[arg-type]

        return call

    return wrap
