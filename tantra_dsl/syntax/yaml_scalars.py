"""Text as a YAML scalar: plain where YAML reads it back unchanged, else in single quotes."""

from __future__ import annotations

import re

# Conservative: what starts with a sign of YAML's own, or holds `: ` or ` #`, is quoted.
_PLAIN = re.compile(r"(?:[^\s\-?:,\[\]{}#&*!|>'\"%@`=<~]|-(?=[^\s\-]))(?:[^\n\t:#]|:(?=\S)|(?<=\S)#)*(?<!\s)")
# What a YAML text may not hold at all.
UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# `attention as cross`: the key of a labelled part.
LABELLED = re.compile(r"(.*\S) as ([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+|\[[^\[\]()]*\])*)", re.DOTALL)
_FLOW_SIGN = re.compile(r"[,\[\]{}]|:(?=[,\[\]{}])|:$")


def is_plain(text: str, *, flow: bool = False) -> bool:
    """Whether ``text`` stands for itself without quotes; ``flow`` inside ``{}`` and ``[]``."""
    return _PLAIN.fullmatch(text) is not None and not (flow and _FLOW_SIGN.search(text))


def scalar(text: str, *, flow: bool = False, key: bool = False) -> str:
    """One-line YAML for ``text``, which holds only what can be printed."""
    if is_plain(text, flow=flow):
        return text
    return "'" + text.replace("'", "''") + "'"


__all__ = ["LABELLED", "UNPRINTABLE", "is_plain", "scalar"]
