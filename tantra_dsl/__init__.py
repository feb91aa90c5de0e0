"""tantra: a language for transformer architectures.

``load`` reads a spec; the result checks itself, gives its typed graph, and compiles to PyTorch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tantra_dsl.api import ShippedSpec, Spec, load, loads, shipped
    from tantra_dsl.diagnostics.core import SpecError

__version__ = "0.1.0"
__all__ = ["ShippedSpec", "Spec", "SpecError", "load", "loads", "shipped"]


def __getattr__(name: str) -> Any:
    """Loads the API when it is first asked for, so that importing a part of the package stays cheap."""
    from importlib import import_module

    if name == "SpecError":
        return import_module("tantra_dsl.diagnostics.core").SpecError
    if name in __all__:
        return getattr(import_module("tantra_dsl.api"), name)
    raise AttributeError(f"module 'tantra_dsl' has no attribute {name!r}")
