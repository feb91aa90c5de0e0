"""A spec and a small model with the interfaces that training asks for, without the language or the compiler."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.graph.model import Body, Graph, InputSpec, Node, Ref
from tantra_dsl.graph.types import Dim, Size, TensorType
from tantra_dsl.semantics.recipe import Setting, Word, resolve_recipe

TOKENS = TensorType((Dim("batch", Size.symbol("batch")), Dim("time", Size.symbol("time"))), "int")
SCALAR = TensorType(())
KINDS = {
    "next_token": {"tokens": "tokens"},
    "masked": {"tokens": "tokens", "labels": "labels"},
    "pairs": {"source": "tokens", "target": "tokens"},
    "picture": {"image": "pixels"},
    "none": {},
}


@dataclass(frozen=True)
class FakeSpec:
    """``model`` holds kind, vocab, context, dim, dropout, break_at and fixed; ``train`` the settings as JSON values."""

    model: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)
    name: str = "fake"

    def get(self, key):
        defaults = {"kind": "next_token", "vocab": 256, "context": 16, "dim": 16, "dropout": 0.1, "break_at": ""}
        return self.model.get(key, defaults[key])

    def graph(self):
        inputs, fixed = KINDS[self.get("kind")], self.model.get("fixed", ())
        dropout, smoothing = (0.1 if op in fixed else None for op in ("dropout", "cross_entropy"))
        nodes = [
            Node(
                name,
                "input",
                (),
                (("name", name), ("kind", "tensor"), ("spec", InputSpec(kind, self.get("vocab")))),
                (TOKENS,),
            )
            for name, kind in inputs.items()
        ]
        nodes += [
            _weight("table", "embed.weight"), _weight("matrix", "hidden.weight"),
            Node("e", "embedding", (Ref(nodes[0].id), Ref("table")), (), (SCALAR,)),
            Node("h", "linear", (Ref("e"), Ref("matrix")), (("has", ()),), (SCALAR,)),
            Node("d", "dropout", (Ref("h"),), (("rate", dropout),), (SCALAR,)),
            Node("l", "cross_entropy", (Ref("d"), Ref(nodes[0].id)), (("label_smoothing", smoothing),), (SCALAR,)),
        ] if nodes else []  # fmt: skip
        outputs = (("loss", Ref("l")),) if nodes else ()
        return Graph(self.name, "main", {"main": Body("main", "model", tuple(nodes), outputs)},
                     (("context", self.get("context")), ("dim", self.get("dim"))))  # fmt: skip

    def recipe(self):
        sink = Sink()
        made = resolve_recipe([Setting(key, _value(value)) for key, value in self.train.items()], sink)
        assert not sink.items, [item.title for item in sink]
        return made

    def resolved_text(self):
        return json.dumps({"model": self.model, "train": self.train}, indent=1)

    def hash(self):
        return hashlib.sha256(json.dumps(self.model, sort_keys=True).encode()).hexdigest()

    def compile(self):
        return FakeModel(self)


def _weight(id, name):
    return Node(id, "param", (), (("name", name), ("decay", True)), (SCALAR,))


def _value(value):
    """A JSON value as the semantics would evaluate it: names and calls are written ``[name, {key: value}]``."""
    if isinstance(value, list) and value and isinstance(value[0], str):
        named = value[1] if len(value) > 1 else {}
        return Word(value[0], (), tuple((key, _value(item)) for key, item in named.items()))
    return tuple(value) if isinstance(value, list) else value


def load(path):
    return FakeSpec(**json.loads(Path(path).read_text()))


class Cache:
    def __init__(self):
        self.length = 0
        self.seen = None


class Scale(nn.Module):
    """Multiplies by one, or breaks everything."""

    def __init__(self, broken):
        super().__init__()
        self.broken = broken

    def forward(self, x):
        return (x - 1e30).exp().log() if self.broken else x


class FakeModel(nn.Module):
    """Predicts from the mean of the last three embeddings through a hidden matrix."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        dim = spec.get("dim")
        self.embed = nn.Embedding(spec.get("vocab"), dim)
        self.hidden = nn.Linear(dim, dim)
        self.middle = Scale(spec.get("break_at") == "middle")
        self.head = nn.Linear(dim, spec.get("vocab"), bias=False)

    def init_weights(self, seed):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in self.parameters():
                weight.normal_(0, 0.05, generator=generator)

    def new_cache(self, batch, max_length):
        return Cache()

    def forward(self, *, cache=None, **inputs):
        tokens = inputs.get("tokens", inputs.get("target"))
        length = tokens.shape[1]
        if cache is not None:
            tokens = tokens if cache.seen is None else torch.cat([cache.seen, tokens], 1)
            cache.seen, cache.length = tokens, tokens.shape[1]
        x = self.embed(tokens)
        if "source" in inputs:
            x = x + self.embed(inputs["source"]).mean(1, keepdim=True)
        x = (x + F.pad(x, (0, 0, 1, 0))[:, :-1] + F.pad(x, (0, 0, 2, 0))[:, :-2]) / 3
        x = self.middle(F.relu(self.hidden(x)))
        x = F.dropout(x, self.spec.get("dropout"), self.training)
        return self.head(x)[:, -length:]

    def loss(self, **inputs):
        logits = self(**inputs).float()
        if "labels" in inputs:
            return F.cross_entropy(logits.flatten(0, 1), inputs["labels"].flatten(), ignore_index=-100)
        target = inputs.get("tokens", inputs.get("target"))
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), target[:, 1:].flatten())
