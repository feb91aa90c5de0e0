"""Which way an attention runs, decided when the model is compiled, and how it is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from tantra_compiler.emit.expr import Expr, number, power, sequence
from tantra_compiler.emit.names import program_name
from tantra_compiler.emit.site import Site, lowers
from tantra_dsl.graph.model import Node
from tantra_dsl.masks.attention import AttentionMeaning
from tantra_dsl.scalars.facts import always
from tantra_dsl.scalars.ir import Op, Scalar, Var
from tantra_dsl.scalars.walk import substitute, variables_of


@dataclass(frozen=True)
class Choice:
    """How an op runs, and why: the name of the runtime function and a reason for people."""

    function: str
    reason: str


def choose_attention(node: Node) -> Choice:
    """The way in which an ``attend`` node runs."""
    asked = node.attr("kernel")
    if asked == "reference":
        return Choice("attend_reference", "asked for")
    if asked == "torch":
        return _by_torch(node)
    special = node.attr("score") is not None or "sink" in node.attr("has", ())
    if asked != "triton" and not special and node.attr("mask") is None:
        return Choice("attend_full", "torch's fused attention: there is no mask and no score")
    if asked != "triton" and not special and node.attr("causal"):
        short = "short sequences on CPUs by plain products"
        return Choice("attend_causal", f"torch's fused attention, which skips later keys itself; {short}")
    return Choice("attend", "asked for" if asked else _what_is_visited(node))


def _what_is_visited(node: Node) -> str:
    plan = meaning(node).plan
    return f"tantra's kernel: {VISITS[plan.kind]}" + "".join(f"; {reason}" for reason in plan.reasons)


_LONGEST_NAME: Final = 32
VISITS: Final = {
    "all": "it visits every key, with the score in place",
    "none": "it visits no key",
    "interval": "it visits one interval of keys for a block of queries",
    "intervals": "it visits two or three intervals of keys for a block of queries",
    "tested": "it tests each tile of queries and keys before it visits it",
    "dense": "it visits every key and asks the mask for every pair",
}
"""What each kind of plan makes a kernel do, for people."""


def _by_torch(node: Node) -> Choice:
    """What torch's own attention can do of a node, as asked for."""
    mask, score = node.attr("mask"), node.attr("score")
    if "sink" in node.attr("has", ()):
        return Choice("attend_reference", "torch's attention has no sink in the denominator")
    if score is not None and not is_additive(score.body):
        return Choice("attend_reference", "torch's attention only adds to scores, and this score is not s + something")
    if score is not None or (mask is not None and not node.attr("causal")):
        return Choice("attend_biased", "asked for: mask and score are added as one tensor")
    return Choice("attend_full" if mask is None else "attend_causal", "asked for")


def meaning(node: Node) -> AttentionMeaning:
    """The mask and the score of an ``attend`` node, with a name that can be read."""
    mask, score = node.attr("mask"), node.attr("score")
    names = [program_name(program.name, program.kind) for program in (mask, score) if program is not None]
    name = "_".join(names)
    return AttentionMeaning(mask, score, name=name if 0 < len(name) <= _LONGEST_NAME else "attention")


def is_additive(score: Scalar) -> bool:
    """Whether ``score`` is s plus something in which s does not occur."""
    if score == Var("s"):
        return True
    if not isinstance(score, Op) or score.op not in ("add", "sub"):
        return False
    holding = [number for number, part in enumerate(score.args) if "s" in variables_of(part)]
    if len(holding) != 1 or (score.op == "sub" and holding[0] != 0):
        return False
    return is_additive(score.args[holding[0]])


@lowers("attend")
def _attend(site: Site) -> Expr:
    choice = choose_attention(site.node)
    if choice.function == "attend":
        return _attend_by_program(site)
    score_name = "bias" if choice.function == "attend_biased" else "score"
    keywords: dict[str, Expr | str] = {}
    if choice.function in ("attend_biased", "attend_reference"):
        keywords = _programs(site, score_name)
    if choice.function == "attend_biased" and site.node.attr("mask") is not None and _leaves_no_row_empty(site):
        keywords["empty_rows"] = "False"
    keywords |= _settings(site)
    return site.run(choice.function, *site.args[:3], **keywords, **site.cache(1))


def _attend_by_program(site: Site) -> Expr:
    source = site.source
    captures = site.captures(3)
    keywords: dict[str, Expr | str] = {"captures": sequence(*captures)} if captures else {}
    program = source.read(source.attentions.program(meaning(site.node)))
    return site.run("attend", *site.args[:3], program, **keywords, **_settings(site), **site.cache(1))


def _settings(site: Site) -> dict[str, Expr | str]:
    keywords: dict[str, Expr | str] = {"scale": scale_text(site.node.attr("scale")), **site.optional(3)}
    rate = site.node.attr("dropout")
    return keywords | ({"dropout": f"{number(rate)} if self.training else 0.0"} if rate else {})


def _leaves_no_row_empty(site: Site) -> bool:
    """Whether every query sees its own position, as can only be where both sides are one sequence."""
    queries, keys = (site.type(slot).dims[1].size for slot in (0, 1))
    return queries == keys and always(substitute(site.node.attr("mask").body, {"k": Var("q")}))


def scale_text(scale: float) -> Expr:
    """A scale as it is thought of: ``64**-0.5`` where it is that."""
    width = round(scale**-2) if scale > 0 else 0
    is_root = width > 1 and math.isclose(width**-0.5, scale, rel_tol=1e-15)
    return power(number(width), number(-0.5)) if is_root else number(scale)


def _programs(site: Site, score_name: str) -> dict[str, Expr | str]:
    mask, score = site.node.attr("mask"), site.node.attr("score")
    captures = site.captures(3)
    masked = len(mask.captures) if mask is not None else 0
    keywords: dict[str, Expr | str] = {}
    if mask is not None:
        keywords["mask"] = site.program(mask)
    if score is not None:
        keywords[score_name] = site.program(score)
    for name, tensors in (("mask_captures", captures[:masked]), (f"{score_name}_captures", captures[masked:])):
        if tensors:
            keywords[name] = sequence(*tensors)
    return keywords


@lowers("additive_attend")
def _additive_attend(site: Site) -> Expr:
    mask = site.node.attr("mask")
    keywords: dict[str, Expr | str] = {}
    if mask is not None:
        keywords["mask"] = site.program(mask)
    captures = site.captures(4)
    if captures:
        keywords["mask_captures"] = sequence(*captures)
    return site.run("additive_attend", *site.args[:4], **keywords, **site.cache(1))
