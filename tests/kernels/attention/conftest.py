"""Kernels run in triton's interpreter here, on the CPU: its switch must be set before triton is imported.

Where something else has imported triton without it, ``test_interpreter.py`` runs these tests in a process of their own.
"""

from __future__ import annotations

import os
import sys
from typing import Any

INTERPRETED = "triton" not in sys.modules or os.environ.get("TRITON_INTERPRET") == "1"
if INTERPRETED:
    os.environ["TRITON_INTERPRET"] = "1"

try:
    from triton.runtime import interpreter
except ImportError:
    collect_ignore_glob = ["test_*.py"]
else:
    alone = ["test_interpreter.py"]
    interpreted = [f"test_{x}.py" for x in ("forward", "backward", "decode", "edges", "plan")]
    collect_ignore = alone if INTERPRETED else interpreted

    def scalars_as_bounds(tensor: Any, scope: Any, patch: Any = interpreter._patch_lang_tensor) -> None:
        """Scalars are arrays of one element there, which numpy 2.4 no longer turns into the bound of a loop."""
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.reshape(-1)[0]))

    interpreter._patch_lang_tensor = scalars_as_bounds
