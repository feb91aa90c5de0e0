"""Where registered operators live."""

from __future__ import annotations

import re


def operator_namespace(module: str) -> str:
    """``tantra``; a copy of the runtime in another ``module`` registers operators of its own."""
    return "tantra" if module.startswith("tantra_compiler.") else "tantra_" + re.sub(r"\W", "_", module)
