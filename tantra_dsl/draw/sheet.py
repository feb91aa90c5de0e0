"""A self-contained HTML page: head, style, tables, and texts with numbered lines. No script, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

from tantra_dsl.draw.colours import DARK, LIGHT, variables
from tantra_dsl.draw.measure import FAMILY

_MONO: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_STYLE: Final = (
    f":root{{color-scheme:light dark;{variables(LIGHT)}--t-page:#ffffff;--t-line:#dfe3ea;--t-mild:#f6f7f9;"
    "--t-added-soft:#dafbe1;--t-removed-soft:#ffebe9;--t-changed-soft:#fff3cd;--t-link:#0b5cad}"
    f"@media (prefers-color-scheme:dark){{:root{{{variables(DARK)}--t-page:#12161d;--t-line:#2d3542;--t-mild:#1b2029;"
    "--t-added-soft:#12351f;--t-removed-soft:#42191b;--t-changed-soft:#3d3210;--t-link:#79b8ff}}"
    f"""
*{{box-sizing:border-box}}
body{{margin:0;background:var(--t-page);color:var(--t-ink);font:15px/1.5 {FAMILY}}}
main{{max-width:1400px;margin:0 auto;padding:24px clamp(12px,3vw,32px) 48px}}
h1{{font-size:24px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}}
h2{{font-size:18px;margin:36px 0 10px}}
h3{{font-size:15px;margin:18px 0 8px;overflow-wrap:anywhere}}
p{{margin:4px 0}}
a{{color:var(--t-link)}}
code,pre{{font-family:{_MONO};font-size:12.5px}}
.soft{{color:var(--t-soft)}}
.pair{{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:24px;align-items:start}}
.pair>*,.beside>*{{min-width:0}}
.beside{{display:grid;grid-template-columns:minmax(0,max-content) minmax(300px,1fr);gap:32px;align-items:start}}
figure{{margin:0;overflow-x:auto}}
figure svg{{display:block;max-width:100%;height:auto;margin:0 auto}}
.whole{{white-space:nowrap}}
.wide{{overflow-x:auto}}
table{{border-collapse:collapse;font-size:13.5px;width:100%}}
th,td{{text-align:left;padding:4px 14px 4px 0;border-bottom:1px solid var(--t-line);vertical-align:top}}
th{{font-weight:600;color:var(--t-soft)}}
.r{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}}
details{{margin:10px 0}}
summary{{cursor:pointer;color:var(--t-link)}}
pre{{margin:0;padding:8px 0;overflow-x:auto;background:var(--t-mild);border:1px solid var(--t-line);border-radius:8px;
line-height:1.55;tab-size:2}}
pre>span{{display:block;padding:0 12px 0 0;min-width:max-content;scroll-margin-top:40vh}}
pre>span>b{{display:inline-block;width:3.6em;padding-right:1em;text-align:right;font-weight:400;color:var(--t-soft);
user-select:none}}
pre>span:target{{outline:2px solid var(--t-link);outline-offset:-2px}}
pre>.none{{color:var(--t-soft)}}
@media (max-width:900px){{.pair,.beside{{grid-template-columns:minmax(0,1fr)}}h1{{font-size:20px}}}}
@media print{{details>*{{display:revert}}figure,pre{{overflow:visible}}}}
"""
)


def document(title: str, body: Iterable[str], style: str = "") -> str:
    """A page of its own with ``body`` as its content; ``style`` is added to that of every page."""
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n<main>\n"
    )
    return head + "\n".join(body) + "\n</main>\n</body>\n</html>\n"


def text(said: str) -> str:
    """Text as HTML; control characters, which it may not hold, are left out."""
    return escape("".join(c for c in said if c >= " " or c in "\n\t"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], sides: str = "") -> str:
    """A table of cells that are HTML already; ``sides`` sets columns ``l``eft or ``r``ight."""
    marks = [' class="r"' if side == "r" else "" for side in sides.ljust(len(head), "l")]
    lines = ['<div class="wide"><table>']
    if any(head):
        lines.append("<tr>" + "".join(f"<th{m}>{cell}</th>" for m, cell in zip(marks, head, strict=True)) + "</tr>")
    for row in rows:
        lines.append("<tr>" + "".join(f"<td{m}>{cell}</td>" for m, cell in zip(marks, row, strict=True)) + "</tr>")
    return "\n".join([*lines, "</table></div>"])


def listing(said: str, prefix: str, marked: Mapping[int, str] | None = None, shown: Sequence[int] | None = None) -> str:
    """A text with numbered lines, line 7 having the id ``PREFIX7``; ``marked`` lines have a class.

    With ``shown``, only these lines, and an ellipsis where others are left out.
    """
    lines = said.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    numbers = list(range(1, len(lines) + 1)) if shown is None else [n for n in sorted(shown) if 0 < n <= len(lines)]
    parts: list[str] = []
    before = 0
    for number in numbers:
        if number != before + 1:
            parts.append('<span class="none"><b></b>…</span>')
        kind = f' class="{marked[number]}"' if marked and number in marked else ""
        parts.append(f'<span{kind} id="{prefix}{number}"><b>{number}</b>{text(lines[number - 1])}</span>')
        before = number
    if numbers and before < len(lines):
        parts.append('<span class="none"><b></b>…</span>')
    return f"<pre>{''.join(parts)}</pre>"
