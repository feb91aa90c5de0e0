"""The graph as a networkx graph, for algorithms; ours stays the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tantra_dsl.graph.model import Body, Graph
from tantra_dsl.graph.paths import used_bodies

if TYPE_CHECKING:
    import networkx as nx


def to_networkx(subject: Graph | Body) -> nx.MultiDiGraph[str]:
    """A body as its nodes, or a graph as its bodies; loads networkx.

    An edge of a body goes from a node to one that reads it; its key is the input slot and its ``out`` the output
    read, so that ``x + x`` keeps both. An edge of a graph goes from a body to one that it uses; its key is the node
    that does so.
    """
    import networkx as nx

    view: nx.MultiDiGraph[str] = nx.MultiDiGraph(name=subject.name if isinstance(subject, Graph) else subject.key)
    if isinstance(subject, Graph):
        _add_bodies(view, subject)
    else:
        _add_nodes(view, subject)
    return view


def _add_nodes(view: nx.MultiDiGraph[str], body: Body) -> None:
    for node in body.nodes:
        view.add_node(node.id, node=node, op=node.op)
    for node in body.nodes:
        for slot, ref in enumerate(node.inputs):
            assert ref.node in view, f"{node.id} reads {ref.node}, which is not there"
            view.add_edge(ref.node, node.id, key=slot, out=ref.out)


def _add_bodies(view: nx.MultiDiGraph[str], graph: Graph) -> None:
    for key, body in graph.bodies.items():
        view.add_node(key, body=body)
    for key, body in graph.bodies.items():
        for node in body.nodes:
            for used in used_bodies(node):
                view.add_edge(key, used, key=node.id)
