"""From two accounts to operations: stacks first, then layers, sublayers, settings, and equations where these agree."""

from __future__ import annotations

from dataclasses import replace
from difflib import SequenceMatcher

from tantra_dsl.diff import equations
from tantra_dsl.diff.account import SHORT, Account, Layers, Part, Sub
from tantra_dsl.diff.definitions import changed_definitions
from tantra_dsl.diff.operations import Operation, kind_of, operation
from tantra_dsl.diff.pairs import paired
from tantra_dsl.diff.settings import Comparison
from tantra_dsl.diff.which import which
from tantra_dsl.graph.hash import function_hash
from tantra_dsl.graph.text import format_node
from tantra_dsl.semantics.model import FACTS
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.flat import flat, flat_definition
from tantra_dsl.syntax.source import NOWHERE, Span

MANY = 3
"""So many layers with values of their own are told one by one, not by their formula."""


def operations(before: Account, after: Account) -> list[Operation]:
    """What turns the one model into the other, in the order of the model; none where both are one model."""
    if before.root.digest == after.root.digest and before.graph.facts == after.graph.facts:
        return []
    return _Models(before, after).run()


def parts(before: Account, after: Account, old: Part, new: Part) -> list[Operation]:
    """What turns a part of the one model into a part of the other, with paths below it."""
    return _Models(before, after).part(old, new)


class _Models:
    """Walks two models side by side."""

    def __init__(self, before: Account, after: Account) -> None:
        self.before, self.after = before, after
        self.settings = Comparison(before, after)
        self.desperate = False
        """Whether parts without an operation of their own are told by their nodes."""
        self.keyed: set[str] = set()
        self.walked: set[str] = set()
        """Names of the definitions whose equations were compared where they are used."""

    def run(self) -> list[Operation]:
        """All operations, equal ones once; only where there is none, operations of the graphs that are different."""
        for self.desperate in (False, True):
            found = list(dict.fromkeys(self._all()))
            if self._tells_all(found):
                return found
        return [*found, self._nodes(self.before.root, self.after.root)]

    def _tells_all(self, found: list[Operation]) -> bool:
        """Whether what the hashes know to be different is told by an operation."""
        concerns = {op.concern for op in found}
        keys = self.before.root.frame.key, self.after.root.frame.key
        if "function" in concerns or self.before.startless[keys[0]] == self.after.startless[keys[1]]:
            return True
        return "names" in concerns and function_hash(self.before.graph) == function_hash(self.after.graph)

    def _all(self) -> list[Operation]:
        found = [*self._facts(), *self._inputs(), *self._keys(), *self._stacks(self.before.root, self.after.root)]
        self.keyed = {op.path.split(".")[0] for op in found}
        found += self._within(self.before.root, self.after.root, bool(found), found)
        return [*found, *changed_definitions(self.settings, self.walked)]

    # --- the model itself ----------------------------------------------------------------

    def _facts(self) -> list[Operation]:
        found = []
        for name in FACTS:
            sides = self.before.key(name), self.after.key(name)
            if sides[0] is not None or sides[1] is not None:
                found += self.settings.setting(name, "model", name, *sides)
        return found

    def _inputs(self) -> list[Operation]:
        sides = [_declared(side) for side in (self.before, self.after)]
        found = []
        for name in dict.fromkeys((*sides[0], *sides[1])):
            old, new = (side.get(name) for side in sides)
            texts = None if old is None else flat(old.type), None if new is None else flat(new.type)
            if texts[0] != texts[1]:
                found.append(operation(kind_of(old, new), name, texts, "other inputs", (_span(old), _span(new))))
        return found

    def _keys(self) -> list[Operation]:
        found = []
        for name in (*SHORT, *self._shared()):
            if name != "layers":
                sides = self.before.key(name), self.after.key(name)
                if sides[0] is not None or sides[1] is not None:
                    found += self.settings.setting(name, "model", name, *sides)
        return found

    def _shared(self) -> list[str]:
        names = [m.name for side in (self.before, self.after) for m in _members(side.root) if isinstance(m, tree.Share)]
        return [name for name in dict.fromkeys(names) if name not in SHORT]

    # --- parts ---------------------------------------------------------------------------

    def part(self, old: Part, new: Part) -> list[Operation]:
        """What turns one part into the other, with paths below it."""
        if old.digest is not None and old.digest == new.digest:
            return []
        if old.is_sublayers != new.is_sublayers or old.definition.kind != new.definition.kind:
            return [self._replaced(old, new)]
        found = self._part_settings(old, new)
        if old.is_sublayers:
            found += self._sublayers(old, new)
        found += self._stacks(old, new)
        found += self._within(old, new, bool(found), found)
        unexplained = self.desperate and not found and old.digest is not None and new.digest is not None
        return [self._nodes(old, new)] if unexplained else found

    def _part_settings(self, old: Part, new: Part) -> list[Operation]:
        found: list[Operation] = []
        for name in dict.fromkeys((*old.settings, *new.settings)):
            found += self.settings.setting(name, old.name, name, old.settings.get(name), new.settings.get(name))
        for name in dict.fromkeys((*old.inputs, *new.inputs)):
            sides = old.inputs.get(name), new.inputs.get(name)
            # What a variable is called does not matter.
            if not all(side is not None and isinstance(side.expr, tree.Name) for side in sides):
                found += self.settings.setting(name, old.name, name, *sides)
        return found

    def _replaced(self, old: Part, new: Part) -> Operation:
        texts = flat_definition(old.definition), flat_definition(new.definition)
        return operation("replace", "", texts, "another block", (old.span, new.span))

    def _within(self, old: Part, new: Part, explained: bool, told: list[Operation]) -> list[Operation]:
        """What is different inside the equations of two parts."""
        same_text = old.definition.params == new.definition.params and old.definition.body == new.definition.body
        if (same_text or old.is_sublayers) and explained:
            return []
        found: list[Operation] = []
        for label, child in old.children.items():
            other = new.children.get(label)
            if old.frame.parent is None and self._is_keyed(label, child):
                continue
            if other is not None and (other.name == child.name or self.settings.alias(other.name) == child.name):
                found += [op.under(label) for op in self.part(child, other)]
        if not same_text and not old.is_sublayers:
            prefix = "" if old.frame.parent is None or old.definition.kind == "block" else old.name
            self.walked.add(old.name)
            found += equations.operations(equations.of_part(old), equations.of_part(new), prefix, [*told, *found])
        return found

    def _is_keyed(self, label: str, child: Part) -> bool:
        """Whether a part of the model stands in a key whose change is told already."""
        if label.split(".")[0] in self.keyed:
            return True
        spans = [self.before.entries[name].span for name in self.keyed & self.before.entries.keys()]
        return any(s.source is child.span.source and s.start <= child.span.start < s.end for s in spans)

    def _nodes(self, old: Part, new: Part) -> Operation:
        """The first node in which two bodies differ that nothing else tells apart."""
        bodies = old.body, new.body
        assert bodies[0] is not None and bodies[1] is not None
        lines = [[format_node(node) for node in body.nodes] for body in bodies if body is not None]
        for tag, a, b, c, d in SequenceMatcher(None, lines[0], lines[1], autojunk=False).get_opcodes():
            if tag != "equal":
                texts = "; ".join(lines[0][a:b]) or None, "; ".join(lines[1][c:d]) or None
                return operation("replace", "", texts, "other operations", (old.span, new.span))
        return operation("replace", "", (old.name, new.name), "other parts inside", (old.span, new.span))

    # --- sublayers -----------------------------------------------------------------------

    def _sublayers(self, old: Part, new: Part) -> list[Operation]:
        found = self._wiring(old, new)
        pairs = paired(old.sublayers, new.sublayers, self._likeness)
        for a, b in pairs:
            found += self._sublayer(a, b)
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        order = [old.sublayers.index(a) for a, _ in both]
        if order != sorted(order):
            texts = _labels(old), _labels(new)
            found.append(operation("move", "", texts, "sublayers in another order", (old.span, new.span)))
        return found

    def _wiring(self, old: Part, new: Part) -> list[Operation]:
        if old.wiring is None and new.wiring is None:
            return []
        return self.settings.setting("wiring", old.name, "wiring", old.wiring, new.wiring)

    def _likeness(self, old: Sub, new: Sub) -> float:
        if old.label == new.label:
            return 3.0
        same = self.settings.form(old.call.expr, new.call.world, old=True) == self.settings.form(
            new.call.expr, new.call.world, old=False
        )
        names = [sub.part.name if sub.part else flat(sub.call.expr).split("(")[0] for sub in (old, new)]
        return 2.0 if same else 1.0 if names[0] == names[1] else 0.0

    def _sublayer(self, old: Sub | None, new: Sub | None) -> list[Operation]:
        if old is None or new is None:
            return [_lone(old, new)] if old is not None or new is not None else []
        found: list[Operation] = []
        if old.label != new.label:
            spans, labels = (old.call.span, new.call.span), (old.label, new.label)
            found.append(operation("rename", old.label, labels, "other weight names", spans, concern="names"))
        if old.part is not None and new.part is not None:
            if old.part.name != new.part.name and self.settings.alias(new.part.name) != old.part.name:
                return [*found, self._other_sublayer(old, new)]
            return found + [op.under(new.label) for op in self.part(old.part, new.part)]
        return found + self.settings.setting(new.label, "block", new.label, old.call, new.call)

    def _other_sublayer(self, old: Sub, new: Sub) -> Operation:
        texts, spans = (old.call.text, new.call.text), (old.call.span, new.call.span)
        return operation("replace", new.label, texts, "another sublayer", spans, value=new.call.expr)

    # --- stacks --------------------------------------------------------------------------

    def _stacks(self, old: Part, new: Part) -> list[Operation]:
        found: list[Operation] = []
        for a, b in paired(list(old.stacks.values()), list(new.stacks.values()), _alike_stacks):
            if a is not None and b is not None:
                if a.name != b.name:
                    labels, spans = (a.name, b.name), (a.span, b.span)
                    found.append(operation("rename", a.name, labels, "other weight names", spans, concern="names"))
                found += self._stack(a, b)
            else:
                texts = None if a is None else a.text, None if b is None else b.text
                name = (a or b).name  # type: ignore[union-attr]
                found.append(operation(kind_of(a, b), name, texts, "other layers", (_span(a), _span(b))))
        return found

    def _stack(self, old: Layers, new: Layers) -> list[Operation]:
        found: list[Operation] = []
        spans = old.span, new.span
        aligned = _aligned(old, new)
        if aligned is None:
            return self._runs(old, new)
        if old.count != new.count:
            why = "more layers" if new.count > old.count else "fewer layers"
            found.append(operation("repeat", new.name, (str(old.count), str(new.count)), why, spans))
        if old.shared != new.shared:
            texts = _sharing(old), _sharing(new)
            found.append(operation("share", old.name, texts, "layers share weights or not", spans))
        return found + self._kinds(old, new, aligned)

    def _kinds(self, old: Layers, new: Layers, aligned: dict[int, tuple[Part, Part, list[int]]]) -> list[Operation]:
        """Operations inside layers; what happens to several kinds of layers is told once."""
        where: dict[Operation, list[int]] = {}
        first: dict[Operation, Operation] = {}
        for a, b, layers in aligned.values():
            for op in self.part(a, b):
                key = replace(op, before=old.span, after=new.span)
                where.setdefault(key, []).extend(layers)
                first.setdefault(key, op)
        count = max(layer for _, _, layers in aligned.values() for layer in layers) + 1
        found = []
        for op, layers in _by_number([(first[key], layers) for key, layers in where.items()]):
            chosen = which(layers, count)
            found.append(op.under(f"{new.name}[{chosen}]" if chosen else new.name))
        return found

    def _runs(self, old: Layers, new: Layers) -> list[Operation]:
        """Stacks that are spelled out, kind by kind."""
        sides = old.spelled(), new.spelled()
        pairs = paired(*sides, lambda a, b: 3.0 if a[0].name == b[0].name else _alike(a[0], b[0]))
        found: list[Operation] = []
        if [c for _, c in sides[0]] != [c for _, c in sides[1]] or len(pairs) != len(sides[0]):
            texts, spans = (old.text, new.text), (old.span, new.span)
            found.append(operation("repeat", new.name, texts, "other layers", spans))
        layers = {id(run): start for start, run in _starts(sides[1])}
        for a, b in pairs:
            if a is not None and b is not None:
                start = layers[id(b)]
                chosen = which(range(start, start + b[1]), new.count)
                prefix = f"{new.name}[{chosen}]" if chosen else new.name
                found += [op.under(prefix) for op in self.part(a[0], b[0])]
        return found


def _by_number(found: list[tuple[Operation, list[int]]]) -> list[tuple[Operation, list[int]]]:
    """Operations with their layers, those of one path together; many that say one thing of `i` as that one."""
    paths: dict[str, list[tuple[Operation, list[int]]]] = {}
    for op, layers in found:
        paths.setdefault(op.path, []).append((op, layers))
    return [item for group in paths.values() for item in _general(group)]


def _general(group: list[tuple[Operation, list[int]]]) -> list[tuple[Operation, list[int]]]:
    first = group[0][0]
    said = first.general
    if said is None or len(group) <= MANY or any(op.general is None or op.general[:2] != said[:2] for op, _ in group):
        return group
    one = replace(first, old=said[0], new=said[1], value=said[2])
    return [(one, [layer for _, layers in group for layer in layers])]


def _starts(runs: list[tuple[Part, int]]) -> list[tuple[int, tuple[Part, int]]]:
    found, start = [], 0
    for run in runs:
        found.append((start, run))
        start += run[1]
    return found


def _alike_stacks(a: Layers, b: Layers) -> float:
    if a.name == b.name:
        return 3.0
    parts = a.at(0), b.at(0)
    return 2.0 if parts[0].name == parts[1].name else _alike(*parts)


def _alike(a: Part, b: Part) -> float:
    labels = [{sub.label for sub in part.sublayers} for part in (a, b)]
    return 1.0 if labels[0] & labels[1] or a.definition.kind == b.definition.kind else 0.0


def _aligned(old: Layers, new: Layers) -> dict[int, tuple[Part, Part, list[int]]] | None:
    """Kinds of layers that stand at the same places, with those places; None where a stack is spelled out otherwise."""
    spelled = [len(s.runs) > 1 and s.count == sum(count for _, count in s.runs) for s in (old, new)]
    if any(spelled) and old.count != new.count:
        return None
    pairs: dict[tuple[int, int], tuple[Part, Part, list[int]]] = {}
    for index in range(new.count):
        a, b = old.at(index), new.at(index)
        pairs.setdefault((id(a), id(b)), (a, b, []))[2].append(index)
    return dict(enumerate(pairs.values()))


def _members(part: Part) -> tuple[tree.Member, ...]:
    return part.definition.body.members if isinstance(part.definition.body, tree.Body) else ()


def _declared(side: Account) -> dict[str, tree.Input]:
    return {m.name: m for m in _members(side.root) if isinstance(m, tree.Input)}


def _lone(old: Sub | None, new: Sub | None) -> Operation:
    """A sublayer that only one of two blocks has."""
    sub = old or new
    assert sub is not None
    texts = None if old is None else old.call.text, None if new is None else new.call.text
    spans = NOWHERE if old is None else old.call.span, NOWHERE if new is None else new.call.span
    why = "a sublayer more" if old is None else "a sublayer less"
    return operation(kind_of(old, new), sub.label, texts, why, spans, value=None if new is None else new.call.expr)


def _labels(part: Part) -> str:
    return ", ".join(sub.label for sub in part.sublayers)


def _sharing(stack: Layers) -> str:
    return "one set of weights" if stack.shared else "weights of their own"


def _span(item: Layers | tree.Input | None) -> Span:
    return NOWHERE if item is None else item.span
