"""Every primitive with its signature."""

from __future__ import annotations

from collections.abc import Callable

import tantra_dsl.semantics.builders.mixing as mixing
import tantra_dsl.semantics.builders.projections as projections
import tantra_dsl.semantics.builders.shapes as shapes
from tantra_dsl.graph.model import Init
from tantra_dsl.semantics.primitives import (
    NORMAL,
    REQUIRED,
    Application,
    Primitive,
    fact,
)
from tantra_dsl.semantics.values import Value


def _plain(op: str, **settings: str) -> Callable[[Application], Value]:
    """A primitive whose settings go straight into attributes; settings name the getter of each."""

    def build(a: Application) -> Value:
        return a.add(op, a.tensors, **{name: getattr(a, getter)(name) for name, getter in settings.items()})

    return build


_ZERO = Init("constant", (0.0,))
_INIT = ("init", fact("init", NORMAL))

PRIMITIVES = (
    Primitive("linear", ("x",), (("out", None), ("bias", False), ("weight", None), _INIT,
              ("bias_init", _ZERO)), projections.linear, True),
    Primitive("embedding", ("ids",), (("count", REQUIRED), ("width", REQUIRED), _INIT), projections.embedding, True),
    Primitive("lookup", ("ids", "table"), (), projections.lookup),
    Primitive("param", (), (("shape", ()), ("init", fact("init", NORMAL)), ("decay", None),
              ("trained", True)), projections.param, True),
    Primitive("conv1d", ("x",), (("width", REQUIRED), ("out", None), ("causal", True), ("groups", 1),
              ("stride", 1), ("dilation", 1),
                                 ("bias", True), _INIT), projections.conv1d, True),
    Primitive("expert_linear", ("x", "experts"), (("count", REQUIRED), ("out", REQUIRED),
              ("bias", False), _INIT), projections.expert_linear, True),
    Primitive("split", ("x",), (("sizes*", REQUIRED),), shapes.split),
    Primitive("concat", ("xs*",), (("axis", None),), shapes.concat),
    Primitive("split_heads", ("x",), (("heads", shapes.heads),), _plain("split_heads", heads="whole")),
    Primitive("merge_heads", ("x",), (), _plain("merge_heads")),
    Primitive("repeat_heads", ("x",), (("times", REQUIRED),), _plain("repeat_heads", times="whole")),
    Primitive("patches", ("x",), (("size", REQUIRED),), _plain("patches", size="whole")),
    Primitive("unpatch", ("x",), (("size", REQUIRED),), _plain("unpatch", size="whole")),
    Primitive("shift", ("x",), (("by", REQUIRED),), shapes.shift),
    Primitive("select", ("x",), (("index", REQUIRED), ("axis", None)), shapes.select),
    Primitive("gather_time", ("x", "index"), (), _plain("gather_time")),
    Primitive("slice", ("x",), (("start", 0), ("stop", None), ("axis", None)), shapes.slice),
    Primitive("pool", ("x",), (("kind", "mean"), ("axis", None), ("weights", None)), shapes.pool),
    Primitive("argmax_time", ("ids",), (), _plain("argmax_time")),
    Primitive("expand_time", ("x", "like"), (), _plain("expand_time")),
    Primitive("standardize", ("x",), (("eps", 1e-5), ("groups", 1)), mixing.normalize("layernorm")),
    Primitive("rms_normalize", ("x",), (("eps", 1e-6), ("groups", 1)), mixing.normalize("rms")),
    Primitive("l2_normalize", ("x",), (("eps", 1e-6), ("groups", 1)), mixing.normalize("l2")),
    Primitive("softmax", ("x",), (("axis", None),), mixing.softmax),
    Primitive("dropout", ("x",), (("rate", None),), mixing.dropout),
    Primitive("stop_gradient", ("x",), (), _plain("stop_gradient")),
    Primitive("positions", ("x",), (("offset", 0),), mixing.positions),
    Primitive("tabulate", ("x",), (("table", REQUIRED), ("width", REQUIRED)), mixing.tabulate),
    Primitive("rotate", ("x",), (("frequency", REQUIRED), ("width", REQUIRED), ("interleaved", False),
              ("factor", 1.0)), mixing.rotate),
    Primitive("attend", ("q", "k", "v"), (("mask", None), ("score", None), ("scale", None), ("sink", None),
              ("dropout", None)), mixing.attend),
    Primitive("additive_attend", ("q", "k", "v"), (("weight", REQUIRED), ("mask", None)), mixing.additive_attend),
    Primitive("linear_scan", ("q", "k", "v"), (("decay", None),), mixing.with_optional("linear_scan", "decay", 3)),
    Primitive("selective_scan", ("x", "delta", "a", "b", "c"), (), _plain("selective_scan")),
    Primitive("delta_scan", ("q", "k", "v", "beta"), (("decay", None),),
              mixing.with_optional("delta_scan", "decay", 4)),
    Primitive("route", ("scores",), (("top_k", REQUIRED), ("bias", None), ("groups", 1),
              ("kept_groups", None), ("normalize", False),
                                     ("scale", 1.0), ("after", None)), mixing.route),
    Primitive("combine_experts", ("y", "weights"), (), _plain("combine_experts")),
    Primitive("balance_loss", ("scores", "experts"), (("count", REQUIRED),), _plain("balance_loss", count="whole")),
    Primitive("matmul", ("a", "b"), (("transpose", False),), _plain("matmul", transpose="flag")),
    Primitive("similarity", ("a", "b"), (), _plain("similarity")),
    Primitive("indices", ("x",), (), _plain("indices")),
    Primitive("transpose", ("x",), (), _plain("transpose")),
    Primitive("cross_entropy", ("logits", "target"), (("label_smoothing", None), ("z_loss", 0.0)),
              mixing.cross_entropy),
    Primitive("mean_squared_error", ("x", "target"), (), _plain("mean_squared_error")),
    Primitive("width", ("x",), (), mixing.extent),
)  # fmt: skip
