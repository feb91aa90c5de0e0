"""A diff as one self-contained page: both diagrams, the operations, costs, weights, and both texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from tantra_dsl.diff.operations import CONCERNS, Operation
from tantra_dsl.diff.page_marks import Side, marks
from tantra_dsl.diff.page_texts import Texts
from tantra_dsl.diff.report import VERDICTS, Diff
from tantra_dsl.diff.weights import Tensor
from tantra_dsl.diff.wording import (
    FATES,
    HEADINGS,
    LABELS,
    delta_text,
    figure,
    part_table,
    shape_text,
    sides,
    tensors_text,
    title,
)  # fmt: skip
from tantra_dsl.draw import picture, svg
from tantra_dsl.draw.sheet import document, table, text

if TYPE_CHECKING:
    from tantra_dsl.api import Spec

SIGNS: Final = {"add": "+", "remove": "−", "repeat": "×", "share": "=", "rename": ">", "move": ">"}
_STATES: Final = {"add": "added", "remove": "removed"}
_STYLE: Final = """
.verdict{display:inline-block;border:1px solid var(--t-edge);border-radius:999px;padding:2px 12px;margin:6px 0;
background:var(--t-mild)}
.legend{display:flex;flex-wrap:wrap;gap:6px 18px;font-size:13.5px;color:var(--t-soft);margin:0 0 12px}
.sign{display:inline-block;min-width:20px;border-radius:9px;padding:0 5px;text-align:center;font-weight:700;
font-size:12px;line-height:18px;color:var(--t-badge-ink);background:var(--t-changed)}
.sign.added{background:var(--t-added)}
.sign.removed{background:var(--t-removed)}
ol.ops{list-style:none;margin:0;padding:0;border-top:1px solid var(--t-line)}
ol.ops>li{display:grid;grid-template-columns:2.2em 30px minmax(0,1fr);gap:0 6px;padding:8px 6px;
border-bottom:1px solid var(--t-line);scroll-margin-top:30vh}
ol.ops>li:target{background:var(--t-changed-soft)}
ol.ops .n{color:var(--t-soft);text-align:right;font-variant-numeric:tabular-nums}
ol.ops code{overflow-wrap:anywhere}
ol.ops .path{font-weight:600}
ol.ops .from{background:var(--t-removed-soft);border-radius:3px;padding:0 3px;text-decoration:line-through;
text-decoration-thickness:1px}
ol.ops .to{background:var(--t-added-soft);border-radius:3px;padding:0 3px}
ol.ops div>.soft{font-size:13.5px}
ol.ops .why{font-size:13.5px;color:var(--t-soft)}
pre>.changed{background:var(--t-changed-soft);box-shadow:inset 3px 0 var(--t-changed)}
pre>.added{background:var(--t-added-soft);box-shadow:inset 3px 0 var(--t-added)}
pre>.removed{background:var(--t-removed-soft);box-shadow:inset 3px 0 var(--t-removed)}
pre .back{margin-left:1.5em;text-decoration:none;font-family:inherit}
"""


def page(found: Diff, before: Spec, after: Spec) -> str:
    """The whole diff of two specs as a page. Raises SpecError where either has mistakes."""
    return document(title(found), _Page(found, before, after).body(), _STYLE)


class _Page:
    def __init__(self, found: Diff, before: Spec, after: Spec) -> None:
        self.found = found
        self.specs: dict[Side, Spec] = {"before": before, "after": after}
        listed = [op for concern in HEADINGS for op in found.of(concern)]
        self.numbered = list(enumerate(listed, 1))
        self.texts: dict[Side, Texts] = {
            "before": Texts("a", before, [(n, op, op.before) for n, op in self.numbered]),
            "after": Texts("b", after, [(n, op, op.after) for n, op in self.numbered]),
        }

    def body(self) -> Iterator[str]:
        yield f"<h1>{text(title(self.found).replace(' -> ', ' → '))}</h1>"
        yield f'<p class="verdict">{text(VERDICTS[self.found.verdict])}</p>'
        yield from (f"<p>{text(note)}</p>" for note in self.found.notes)
        yield from self._diagrams()
        yield from self._operations()
        if any(op.concern in ("function", "names") for _, op in self.numbered):
            yield from self._costs()
            yield from self._weights()
        yield from self._sources()

    # --- diagrams ------------------------------------------------------------------------

    def _diagrams(self) -> Iterator[str]:
        yield "<h2>Diagrams</h2>"
        yield (
            '<p class="legend">'
            + "".join(
                f'<span><span class="sign {kind}">{sign}</span> {said}</span>'
                for kind, sign, said in (
                    ("added", "+", "added"),
                    ("removed", "−", "removed"),
                    ("changed", "~", "changed"),
                )
            )
            + "<span>the numbers are those of the operations below</span></p>"
        )
        yield '<div class="pair">'
        for side in self.specs:
            drawn = picture(self.specs[side].graph())
            yield f"<figure>{svg(drawn, marks=marks(drawn, self.numbered, side), links=True)}</figure>"
        yield "</div>"

    # --- operations ----------------------------------------------------------------------

    def _operations(self) -> Iterator[str]:
        if not self.numbered:
            yield "<h2>Operations</h2><p>Nothing is different.</p>"
        for concern, heading in HEADINGS.items():
            listed = [(number, op) for number, op in self.numbered if op.concern == concern]
            if listed:
                yield f"<h2>Changes to {text(heading)}</h2>"
                if concern != "function":
                    yield f'<p class="soft">{text(CONCERNS[concern])}</p>'
                yield '<ol class="ops">'
                yield from (self._operation(number, op) for number, op in listed)
                yield "</ol>"

    def _operation(self, number: int, op: Operation) -> str:
        state = _STATES.get(op.kind, "changed")
        sign = f'<span class="sign {state}" title="{op.kind}">{SIGNS.get(op.kind, "~")}</span>'
        places = [self.texts["before"].link(op.before), self.texts["after"].link(op.after)]
        remark = "; ".join(part for part in (text(op.why), " | ".join(dict.fromkeys(filter(None, places)))) if part)
        return (
            f'<li id="op-{number}"><span class="n">{number}</span><span>{sign}</span><div>'
            f'<code class="path">{text(op.path)}</code> {_change(op)}<div class="why">{remark}</div></div></li>'
        )

    # --- costs and weights ---------------------------------------------------------------

    def _costs(self) -> Iterator[str]:
        costs = self.found.costs
        yield f"<h2>Costs of {costs.batch} × {costs.seq:,} tokens</h2>"
        rows = [
            [text(LABELS[c.name]), text(figure(c.name, c.old.value)), text(figure(c.name, c.new.value)), delta_text(c)]
            for c in costs.figures
        ]
        yield table(["", *map(text, sides(self.found)), "change"], rows, "lrrr")
        head, differing = part_table(costs)
        parts = [[f"<code>{text(row[0])}</code>", *map(_whole, row[1:])] for row in differing]
        if parts:
            yield f"<details><summary>By part: {len(parts)} that differ</summary>"
            yield table(head, parts)
            yield "</details>"

    def _weights(self) -> Iterator[str]:
        sets = {fate: [t for t in self.found.weights if t.fate == fate] for fate in FATES}
        yield "<h2>Weights</h2>"
        for fate, listed in sets.items():
            if not listed:
                continue
            is_open = " open" if fate != "loads" else ""
            yield f"<details{is_open}><summary>{text(tensors_text(listed))} {text(FATES[fate])}</summary>"
            rows = [
                [
                    f"<code>{text(_name(t))}</code>",
                    shape_text(t.old),
                    shape_text(t.new),
                    _arrowed(t.how),
                ]
                for t in listed
            ]
            yield table(["tensor", *map(text, sides(self.found)), ""], rows)
            yield "</details>"

    # --- texts ---------------------------------------------------------------------------

    def _sources(self) -> Iterator[str]:
        yield '<h2>Texts</h2><div class="pair">'
        for side in self.specs:
            yield f"<div>{self.texts[side].html()}</div>"
        yield "</div>"


def _change(op: Operation) -> str:
    old, new = (_value(*side) for side in zip((op.old, op.new), ("from", "to"), op.defaulted, strict=True))
    if op.kind == "add":
        return new or "added"
    if op.kind == "remove":
        return f"{old} removed".lstrip()
    return f"{old or 'none'} → {new or 'none'}"


def _value(said: str | None, side: str, by_default: bool) -> str:
    if said is None:
        return ""
    return f'<code class="{side}">{text(said)}</code>' + (' <span class="soft">by default</span>' if by_default else "")


def _arrowed(said: str) -> str:
    return text(said.replace(" -> ", " → "))


def _whole(said: str) -> str:
    """A cell that stays on one line: a table that is wider than the page scrolls."""
    return f'<span class="whole">{_arrowed(said)}</span>'


def _name(tensor: Tensor) -> str:
    return f"{tensor.old_path} → {tensor.path}" if tensor.old_path else tensor.path
