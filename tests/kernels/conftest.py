"""Kernels run in triton's interpreter here, on the CPU; ``tests/conftest.py`` sets its switch."""

from __future__ import annotations

from typing import Any

try:
    from triton.runtime import interpreter
except ImportError:
    collect_ignore_glob = ["test_*.py", "*/test_*.py"]
else:

    def scalars_as_bounds(tensor: Any, scope: Any, patch: Any = interpreter._patch_lang_tensor) -> None:
        """Scalars are arrays of one element there, which numpy 2.4 no longer turns into the bound of a loop."""
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.reshape(-1)[0]))

    interpreter._patch_lang_tensor = scalars_as_bounds
