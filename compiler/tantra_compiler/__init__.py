"""Graph to PyTorch: the compiler of the language.

``emit_source`` writes a model's source, ``compile_graph`` makes a module of it.
"""

from tantra_compiler.compile import compile_graph, emit_source
from tantra_compiler.options import CompileOptions

__all__ = ["CompileOptions", "compile_graph", "emit_source"]
