"""Build hook: puts the grammars, the shipped specs and the error pages inside the wheel's package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

RESOURCES = ("grammars", "specs", "docs/errors")


class ResourceHook(BuildHookInterface):  # type: ignore[type-arg]
    """Includes each folder of ``RESOURCES`` as ``tantra_dsl/<folder>``.

    An editable install reads them where they are in the checkout, so it gets none.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders to ``build_data`` unless ``version`` is ``"editable"``."""
        if version == "editable":
            return
        for folder in RESOURCES:
            build_data["force_include"][str(Path(self.root, folder))] = f"tantra_dsl/{folder}"
