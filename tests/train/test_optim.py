"""Which weight gets which optimizer, and that an optimizer's state survives saving."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tantra_dsl.graph.model import Body, BodyRef, Graph, InputSpec, Node, Ref
from tantra_dsl.graph.roles import WeightRole, weight_roles
from tantra_dsl.graph.types import TensorType
from tantra_dsl.semantics.recipe import OptimizerChoice
from tantra_dsl.train.optim import make_optimizers

NONE = TensorType(())


def node(id, op, *inputs, **attrs):
    return Node(id, op, tuple(Ref(name) for name in inputs), tuple(attrs.items()), (NONE,))


def param(id, name, decay=True):
    return node(id, "param", name=name, decay=decay)


# --- roles -------------------------------------------------------------------------------


def layered_graph():
    """A stack of two bodies, one of which projects with a table that the root owns, and a tied head in a call."""
    given = node("shared", "input", name="shared", kind="param")
    layer = (node("x", "input", name="x", kind="tensor"), param("w", "up.weight"), node("y", "linear", "x", "w"))
    odd = (node("x", "input", name="x", kind="tensor"), given, param("g", "gain", False),
           node("y", "linear", "x", "shared"),
           node("z", "map", "y", "g"))  # fmt: skip
    head = (
        node("x", "input", name="x", kind="tensor"),
        node("t", "input", name="t", kind="param"),
        node("y", "linear", "x", "t"),
    )
    root = (
        node("tokens", "input", name="tokens", kind="tensor", spec=InputSpec("tokens", 9)),
        param("table", "embed.weight"), param("mix", "mix.weight"), node("e", "embedding", "tokens", "table"),
        node("s", "stack", "e", "mix", name="layers", runs=((BodyRef("layer"), 2), (BodyRef("odd"), 1)), count=5,
             shared=False, extras=("shared",)),
        node("h", "call", "s", "table", body=BodyRef("head"), name="head", instance="own"),
        node("loss", "cross_entropy", "h", "tokens"),
    )  # fmt: skip
    bodies = {"root": root, "layer": layer, "odd": odd, "head": head}
    made = {key: Body(key, key, nodes, (("out", Ref(nodes[-1].id)),)) for key, nodes in bodies.items()}
    return Graph("g", "root", made)


def test_roles_follow_weights_through_stacks_and_calls():
    roles = weight_roles(layered_graph())
    assert roles["embed.weight"] == WeightRole(True, frozenset({"embedding", "linear"}))
    assert roles["mix.weight"] == WeightRole(True, frozenset({"linear"}))
    assert roles["layers.2.gain"] == WeightRole(False, frozenset({"map"}))
    layers = {f"layers.{index}.up.weight" for index in (0, 1, 3, 4)}
    assert set(roles) == layers | {"embed.weight", "mix.weight", "layers.2.gain"}
    assert all(roles[name].is_projection for name in layers)
    assert not roles["embed.weight"].is_projection


def test_roles_of_shared_layers_are_told_once():
    graph = layered_graph()
    root = graph.bodies["root"]
    shared = tuple(
        Node(
            item.id,
            item.op,
            item.inputs,
            (*(pair for pair in item.attrs if pair[0] != "shared"), ("shared", True)),
            item.types,
        )
        for item in root.nodes
    )
    roles = weight_roles(Graph("g", "root", {**graph.bodies, "root": Body("root", "root", shared, root.outputs)}))
    assert {name for name in roles if name.startswith("layers")} == {"layers.0.up.weight", "layers.2.gain"}


def test_roles_of_a_module_used_twice_collect_both_uses():
    inner = (node("x", "input", name="x", kind="tensor"), param("w", "weight"), node("y", "linear", "x", "w"))
    root = (
        node("tokens", "input", name="tokens", kind="tensor", spec=InputSpec("tokens", 9)),
        node("m", "instance", body=BodyRef("inner"), name="proj"),
        node("a", "call", "m", "tokens", body=BodyRef("inner"), name="proj", instance="given"),
        node("b", "call", "m", "a", body=BodyRef("inner"), name="proj", instance="given"),
    )
    bodies = {key: Body(key, key, nodes, ()) for key, nodes in (("root", root), ("inner", inner))}
    assert weight_roles(Graph("g", "root", bodies)) == {"proj.weight": WeightRole(True, frozenset({"linear"}))}


# --- groups ------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 4)
        self.place = nn.Embedding(6, 4)
        self.hidden = nn.Linear(4, 4)
        self.fixed = nn.Linear(4, 4, bias=False)
        self.head = nn.Linear(4, 11, bias=False)

    def forward(self, ids):
        return self.head(self.fixed(self.hidden(self.embed(ids) + self.place(ids % 6))))


ROLES = {
    "embed.weight": WeightRole(True, frozenset({"embedding"})),
    "place.weight": WeightRole(False, frozenset({"embedding"})),
    "hidden.weight": WeightRole(True, frozenset({"linear"})),
    "hidden.bias": WeightRole(False, frozenset({"linear"})),
    "fixed.weight": WeightRole(False, frozenset({"linear"})),
    "head.weight": WeightRole(True, frozenset({"linear"})),
}


def members(choice, net=None, peak=None):
    """For each optimizer: its kind, and for each weight its decay."""
    made = make_optimizers(net or Net(), choice, ROLES, 11, peak)
    return [(type(member).__name__, dict(_decays(made, member))) for member in made.members]


def _decays(made, member):
    for group in member.param_groups:
        for weight in group["params"]:
            yield made.names[weight], group["weight_decay"]


def test_decay_follows_the_graph_and_spares_vectors():
    ((kind, decays),) = members(OptimizerChoice("adamw", weight_decay=0.3))
    assert kind == "AdamW"
    assert decays == {"embed.weight": 0.3, "place.weight": 0.0, "hidden.weight": 0.3, "hidden.bias": 0.0,
                      "fixed.weight": 0.0, "head.weight": 0.3}  # fmt: skip


def test_muon_takes_hidden_matrices_and_adamw_the_rest():
    (muon, hidden), (adamw, rest) = members(OptimizerChoice("muon", weight_decay=0.3))
    assert (muon, adamw) == ("Muon", "AdamW")
    assert hidden == {"hidden.weight": 0.3, "fixed.weight": 0.0}
    assert set(rest) == {"embed.weight", "place.weight", "hidden.bias", "head.weight"}


def test_muon_without_hidden_matrices_is_adamw():
    assert [kind for kind, _ in members(OptimizerChoice("muon"), nn.Embedding(11, 4))] == ["AdamW"]


def test_adam_has_no_decay_and_sgd_has_momentum():
    ((kind, decays),) = members(OptimizerChoice("adam"))
    assert (kind, set(decays.values())) == ("Adam", {0.0})
    made = make_optimizers(Net(), OptimizerChoice("sgd", momentum=0.8), ROLES, 11, None)
    assert [(group["momentum"], group["nesterov"]) for group in made.members[0].param_groups] == [(0.8, True)] * 2
    make_optimizers(Net(), OptimizerChoice("sgd", momentum=0.0), ROLES, 11, None)


def test_learning_rates():
    made = make_optimizers(Net(), OptimizerChoice("muon", 0.04, adamw_lr=0.01), ROLES, 11, None)
    assert made.set_factor(0.5) == 0.02
    assert {group["lr"] for group in made.members[0].param_groups} == {0.02}
    assert {group["lr"] for group in made.members[1].param_groups} == {0.005}
    assert make_optimizers(Net(), OptimizerChoice("adam"), ROLES, 11, 0.123).peaks == (0.123,)
    assert make_optimizers(Net(), OptimizerChoice("adam", 0.5), ROLES, 11, 0.123).peaks == (0.5,)


# --- state -------------------------------------------------------------------------------


def take_steps(net, made, first, count):
    for number in range(first, first + count):
        torch.manual_seed(number)
        made.set_factor(1 / (number + 1))
        net(torch.randint(11, (5,))).square().mean().backward()
        made.step()


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd", "muon"])
def test_restored_state_goes_on_to_the_same_bit(kind):
    def fresh():
        torch.manual_seed(0)
        net = Net()
        return net, make_optimizers(net, OptimizerChoice(kind), ROLES, 11, None)

    straight, made = fresh()
    take_steps(straight, made, 0, 6)

    net, first = fresh()
    take_steps(net, first, 0, 3)
    saved = {name: tensor.clone() for name, tensor in first.state().items()}
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    again, second = fresh()
    again.load_state_dict(weights)
    second.load(saved)
    take_steps(again, second, 3, 3)
    assert saved
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_saved_state_shares_no_memory_with_the_restored():
    net = Net()
    made = make_optimizers(net, OptimizerChoice("adamw"), ROLES, 11, None)
    take_steps(net, made, 0, 1)
    saved = {name: tensor.clone() for name, tensor in made.state().items()}
    kept = {name: tensor.clone() for name, tensor in saved.items()}
    other = make_optimizers(Net(), OptimizerChoice("adamw"), ROLES, 11, None)
    other.load(saved)
    for member in other.members:
        for state in member.state.values():
            for tensor in state.values():
                tensor.add_(1)
    assert all(torch.equal(saved[name], kept[name]) for name in kept)


def test_steps_drop_the_gradients():
    net = Net()
    made = make_optimizers(net, OptimizerChoice("muon"), ROLES, 11, None)
    take_steps(net, made, 0, 1)
    assert all(weight.grad is None for weight in net.parameters())
