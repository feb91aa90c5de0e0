"""What a change of a setting means, in a few words."""

from __future__ import annotations

from typing import Final

_BY_KEY: Final = {
    "dim": "every width changes",
    "vocab": "other tokens, and tables of another size",
    "context": "another longest sequence",
    "wiring": "sublayers join the stream differently",
    "norm": "another normalisation",
    "qk_norm": "queries and keys are normalised differently",
    "position": "positions enter queries and keys differently",
    "theta": "positions turn at other rates",
    "scaling": "positions turn at other rates",
    "fraction": "another part of each head turns",
    "heads": "attention in another number of heads",
    "kv_heads": "keys and values in another number of heads",
    "head_dim": "heads of another width",
    "hidden": "another inner width",
    "activation": "another activation",
    "gated": "a gate comes or goes",
    "experts": "another number of experts",
    "top_k": "a token goes to another number of experts",
    "eps": "another constant under the root",
    "embed": "tokens become vectors differently",
    "head": "scores are made differently",
    "final_norm": "another normalisation",
    "objective": "another loss",
    "memory": "keys and values come from elsewhere",
}
_BY_TYPE: Final = {
    "mask": "queries see other keys",
    "score": "scores change before the softmax",
    "module": "another function in its place",
    "fn": "another function in its place",
    "int": "another size",
    "number": "another constant",
    "bool": "a part comes or goes",
}


def why(type: str, key: str, about: str) -> str:
    """The reason why a setting called ``key``, declared as ``type``, matters; ``about`` is what it is about."""
    if about == "start":
        return "weights start differently"
    if type in ("mask", "score"):
        return _BY_TYPE[type]
    return _BY_KEY.get(key) or _BY_TYPE.get(type) or "another value"
