"""How much work something takes: calls of functions, which no other load of the machine changes."""

from __future__ import annotations

import cProfile
from collections.abc import Callable
from types import CodeType

SOURCES = ("tantra_dsl", "tantra_compiler", "lark", "yaml")


def counted_calls(work: Callable[[], object]) -> int:
    """Calls of functions of the project, lark and PyYAML that ``work()`` makes; exceptions pass through."""
    profile = cProfile.Profile(subcalls=False, builtins=False)
    profile.runcall(work)
    return sum(
        entry.callcount
        for entry in profile.getstats()
        if isinstance(entry.code, CodeType) and any(name in entry.code.co_filename for name in SOURCES)
    )
