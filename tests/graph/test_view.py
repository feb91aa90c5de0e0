"""The networkx view keeps every edge."""

from __future__ import annotations

import hand_built
import networkx as nx

from tantra_dsl.graph.build import BodyBuilder
from tantra_dsl.graph.view import to_networkx


def test_both_edges_of_x_plus_x_are_there() -> None:
    b = BodyBuilder("double", "block")
    x = b.input("x", hand_built.stream())
    body = b.finish([("out", hand_built.add(b, x, x))])
    assert sorted(to_networkx(body).edges(keys=True)) == [("x", "sum", 0), ("x", "sum", 1)]


def test_a_body_is_in_topological_order() -> None:
    body = hand_built.attention()
    view = to_networkx(body)
    order = {node.id: place for place, node in enumerate(body.nodes)}
    assert nx.is_directed_acyclic_graph(view)
    assert all(order[source] < order[target] for source, target in view.edges())
    assert view.nodes["y"]["op"] == "attend"
    assert view.number_of_edges() == sum(len(node.inputs) for node in body.nodes)


def test_a_graph_shows_which_body_uses_which() -> None:
    view = to_networkx(hand_built.alternating())
    assert nx.descendants(view, "main") == {"local", "global", "attention", "attention_local", "ffn"}
    assert view.has_edge("local", "ffn", key="ffn")
