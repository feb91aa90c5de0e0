"""What kernels are built from ahead of time: masks and scores of the standard library, as models' kernels get them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from typing import Final

import tantra_dsl
from tantra_compiler.compile import compile_graph
from tantra_compiler.kernels.attention.programs import Programs
from tantra_compiler.kernels.generate import meaning_of
from tantra_compiler.kernels.run import kernel_of
from tantra_compiler.options import CompileOptions
from tantra_compiler.runtime.program import AttentionProgram

_MODEL: Final = """
score learned_slope(heads: int) {{
  rate = param([heads])
  return s - rate[h] * abs(q - k)
}}

model sample {{
  vocab: 64  context: 256  dim: 64
  {inputs}
  embed: tokens
  layers: 1 of block {{
    wiring: pre(rms)
    attention {{ heads: 8, kv_heads: 2, {attention} }}
    ffn {{ hidden: 64 }}
  }}
  head: language_model
  objective: {objective}
}}
"""
_DOCUMENTS: Final = "doc: per_token"
_MADE: Final = {"lengths": "*i64", "fields": "*i32", "places": "*i32"}


@dataclass(frozen=True)
class Sample:
    """What is written in the attention of a model, the field that it reads, and whether it may look ahead."""

    attention: str
    field: str = ""
    both_ways: bool = False

    @property
    def model(self) -> str:
        """A model with such an attention."""
        objective = "masked_token" if self.both_ways else "next_token"
        return _MODEL.format(inputs=self.field and f"input {self.field}", attention=self.attention, objective=objective)


SAMPLES: Final = {
    "all": Sample("mask: all", both_ways=True),
    "causal": Sample("mask: causal"),
    "window": Sample("mask: causal and window(40)"),
    "prefix": Sample("mask: prefix(24)", both_ways=True),
    "padding": Sample("mask: causal and padding", "length: per_sequence"),
    "documents": Sample("mask: causal and same_document", _DOCUMENTS),
    "documents, window": Sample("mask: causal and window(40) and same_document", _DOCUMENTS),
    "heads": Sample("mask: causal and q - k < 8 * (h + 1)"),
    "longformer": Sample("mask: longformer(20, 3)", both_ways=True),
    "strided": Sample("mask: strided(64)"),
    "dense": Sample("mask: group[q] > group[k]", "group: per_token", both_ways=True),
    "softcap": Sample("mask: causal, score: softcap(20)"),
    "alibi": Sample("mask: causal, score: alibi"),
    "learned slope": Sample("mask: causal, score: learned_slope(heads: 8)"),
    "documents, window, alibi, softcap": Sample(
        "mask: causal and window(40) and same_document, score: alibi then softcap(20)", _DOCUMENTS
    ),
    "longformer, learned slope, softcap": Sample(
        "mask: longformer(20, 3), score: learned_slope(heads: 8) then softcap(20)", both_ways=True
    ),
    "strided, alibi, softcap": Sample("mask: strided(64), score: alibi then softcap(20)"),
    "dense, softcap": Sample("mask: group[q] > group[k], score: softcap(20)", "group: per_token", both_ways=True),
    "t5": Sample("mask: all, score: t5_bias(heads: 8)", both_ways=True),
    "documents, window, t5": Sample(
        "mask: causal and window(40) and same_document, score: t5_bias(heads: 8, bidirectional: false)", _DOCUMENTS
    ),
    "longformer, t5": Sample("mask: longformer(20, 3), score: t5_bias(heads: 8)", both_ways=True),
}


@cache
def program_text(name: str) -> str:
    """The program of a sample, as the emitted module of its model has it."""
    graph = tantra_dsl.loads(SAMPLES[name].model).graph()
    model = compile_graph(graph, CompileOptions(device="meta", kernels={"*": "triton"}))
    values = vars(sys.modules[type(model).__module__]).values()
    return next(value for value in values if isinstance(value, AttentionProgram)).text


def programs(name: str) -> Programs:
    """The functions of a sample."""
    return kernel_of(program_text(name)).programs


def capture_types(text: str, learned: str = "fp32") -> tuple[str, ...]:
    """Triton's types of what the runtime passes to a program: its fields are int64, what is made of them int32."""
    meaning = meaning_of(text)
    given = [f"*{learned}" if capture.learned else "*i64" for capture in meaning.captures]
    return (*given, *(_MADE[name] for name in meaning.made))
