"""Every way of running attention, against attention written out in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hand_programs import CAUSAL, alibi, mask, op, same_document, scalar, score, softcap, window
from torch import Tensor

from tantra_compiler.emit.lower_attention import choose_attention, is_additive
from tantra_compiler.emit.programs import Programs
from tantra_compiler.runtime.attention import attend_biased, attend_causal, attend_full, attend_reference
from tantra_dsl.graph.model import Node
from tantra_dsl.scalars.evaluate import evaluate
from tantra_dsl.scalars.ir import Program

HEADS, WIDTH = 4, 8


def compiled(program: Program) -> Callable[..., Tensor]:
    """The emitted function of ``program``."""
    programs = Programs(lambda name: name)
    name = programs.function(program)
    scope: dict[str, Any] = {"torch": torch, "Tensor": Tensor}
    exec("\n".join(programs.sources), scope)
    return scope[name]  # type: ignore[no-any-return]


def tensors(queries: int, keys: int, kv_heads: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(queries * 100 + keys)
    shapes = [(2, queries, HEADS, WIDTH), (2, keys, kv_heads, WIDTH), (2, keys, kv_heads, WIDTH)]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def written_out(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    allowed: Program | None,
    changed: Program | None,
    doc: Tensor | None = None,
    sink: Tensor | None = None,
) -> Tensor:
    """Attention by its definition: one query and one head at a time, programs evaluated in plain Python."""
    offset, rows = k.shape[1] - q.shape[1], []
    for b in range(q.shape[0]):
        for i in range(q.shape[1]):
            for h in range(HEADS):
                group = h // (HEADS // k.shape[2])
                logits, values = [], []
                for j in range(k.shape[1]):
                    at = {"b": b, "h": h, "q": i + offset, "k": j}
                    read = lambda _, index, doc=doc: int(doc[index])  # noqa: E731
                    if allowed is not None and not evaluate(allowed.body, at, read):
                        continue
                    s = (q[b, i, h] * k[b, j, group]).sum() * scale
                    logits.append(s if changed is None else _scored(changed, at, s))
                    values.append(v[b, j, group])
                if not logits:
                    rows.append(torch.zeros(WIDTH, dtype=q.dtype))
                    continue
                stacked = torch.stack(logits + ([] if sink is None else [sink[h]]))
                weights = stacked.softmax(0)[: len(logits)]
                rows.append((weights.unsqueeze(-1) * torch.stack(values)).sum(0))
    return torch.stack(rows).view(q.shape)


def _scored(program: Program, at: dict[str, int], s: Tensor) -> Tensor:
    """alibi and softcap, the scores of these tests, keeping the gradient of ``s``."""
    if "softcap" in program.name:
        return 5.0 * torch.tanh(s / 5.0)
    return s + float(evaluate(program.body, {**at, "s": 0.0}))


def assert_close(ours: Tensor, theirs: Tensor, budget: float = 1e-12) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= budget * max(1.0, theirs.abs().max().item())


def assert_same_with_gradients(ours: Tensor, theirs: Tensor, inputs: list[Tensor], budget: float = 1e-12) -> None:
    assert_close(ours, theirs, budget)
    weights = torch.linspace(-1, 1, ours.numel(), dtype=ours.dtype).view(ours.shape)
    mine, other = (torch.autograd.grad((out * weights).sum(), inputs, retain_graph=True) for out in (ours, theirs))
    for a, b in zip(mine, other, strict=True):
        assert_close(a, b, budget)


LENGTHS = [(5, 5), (3, 7), (1, 6)]
NEVER_EMPTY = {"causal": CAUSAL, "window": window(2)}
SCORES = {"none": None, "alibi": alibi(HEADS)}


@pytest.mark.parametrize(("queries", "keys"), LENGTHS)
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_full_and_causal(queries: int, keys: int, kv_heads: int) -> None:
    q, k, v = inputs = tensors(queries, keys, kv_heads)
    assert_same_with_gradients(attend_full(q, k, v, scale=0.3), written_out(q, k, v, 0.3, None, None), inputs)
    assert_same_with_gradients(attend_causal(q, k, v, scale=0.3), written_out(q, k, v, 0.3, CAUSAL, None), inputs)


@pytest.mark.parametrize(("queries", "keys"), LENGTHS)
@pytest.mark.parametrize("masked", NEVER_EMPTY)
@pytest.mark.parametrize("scored", SCORES)
def test_biased_and_reference(queries: int, keys: int, masked: str, scored: str) -> None:
    q, k, v = inputs = tensors(queries, keys, 2)
    allowed, changed = NEVER_EMPTY[masked], SCORES[scored]
    expected = written_out(q, k, v, 0.3, allowed, changed)
    programs: dict[str, Any] = {"mask": compiled(allowed), "scale": 0.3}
    bias = None if changed is None else compiled(changed)
    assert_same_with_gradients(attend_biased(q, k, v, bias=bias, **programs), expected, inputs)
    assert_same_with_gradients(attend_reference(q, k, v, score=bias, **programs), expected, inputs)


def test_reference_with_a_score_that_bends_and_a_sink() -> None:
    q, k, v = tensors(4, 6, 2)
    sink = torch.randn(HEADS, dtype=torch.float64).requires_grad_()
    made = attend_reference(q, k, v, scale=2.0, mask=compiled(CAUSAL), score=compiled(softcap(5.0)), sink=sink)
    assert_same_with_gradients(made, written_out(q, k, v, 2.0, CAUSAL, softcap(5.0), sink=sink), [q, k, v, sink])


def test_fields_of_the_batch() -> None:
    q, k, v = inputs = tensors(6, 6, 4)
    doc = torch.tensor([[0, 0, 1, 1, 1, 2], [5, 5, 5, 5, 0, 0]])
    expected = written_out(q, k, v, 0.3, same_document(), None, doc)
    captured: dict[str, Any] = {"mask": compiled(same_document()), "mask_captures": (doc,), "scale": 0.3}
    assert_same_with_gradients(attend_biased(q, k, v, **captured), expected, inputs)
    assert_same_with_gradients(attend_reference(q, k, v, **captured), expected, inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_query_without_keys_gives_zeros_and_finite_gradients(dtype: torch.dtype) -> None:
    second_half = mask(op("and", op("le", "k", "q"), op("ge", "k", 3)), name="late")
    inputs = tensors(5, 5, 2, dtype)
    for way in (attend_biased, attend_reference):
        out = way(*inputs, scale=1.0, mask=compiled(second_half))
        assert (out[:, :3] == 0).all()
        assert (out[:, 3:] != 0).any()
        grads = torch.autograd.grad(out.float().square().sum(), inputs)
        assert all(torch.isfinite(grad).all() for grad in grads)


def test_a_learned_table_gets_its_gradient() -> None:
    from tantra_dsl.scalars.ir import Capture, Gather, Var

    distance = op("min", op("abs", op("sub", "q", "k")), 3)
    program = score(op("add", "s", Gather(0, (distance, Var("h")))), Capture("table", learned=True), name="bias")
    q, k, v = tensors(4, 4, 4)
    table = torch.randn(4, HEADS, dtype=torch.float64).requires_grad_()
    places = (torch.arange(4).view(4, 1) - torch.arange(4)).abs().clamp(max=3)
    s = torch.einsum("bqhd,bkhd->bhqk", q, k) * 0.5 + table[places].permute(2, 0, 1)
    expected = torch.einsum("bhqk,bkhd->bqhd", s.softmax(-1), v)
    made = attend_biased(q, k, v, scale=0.5, bias=compiled(program), bias_captures=(table,))
    assert_same_with_gradients(made, expected, [q, k, v, table])


def test_low_precision_stays_within_twice_the_references_error() -> None:
    exact = [x.detach() for x in tensors(64, 64, 2)]
    low = [x.bfloat16() for x in exact]
    rounded = [x.double() for x in low]
    truth = attend_reference(*rounded, scale=0.35, mask=compiled(CAUSAL))
    reference_error = (attend_reference(*low, scale=0.35, mask=compiled(CAUSAL)).double() - truth).abs().max()
    for made in (attend_causal(*low, scale=0.35), attend_biased(*low, scale=0.35, mask=compiled(window(1000)))):
        assert (made.double() - truth).abs().max() <= 2 * reference_error + torch.finfo(
            torch.bfloat16
        ).eps * truth.abs().max()


def test_masks_without_captures_are_computed_once_for_each_length() -> None:
    calls: list[int] = []

    def counted(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        calls.append(1)
        return k <= q

    q, k, v = tensors(5, 5, 2)
    for _ in range(3):
        attend_biased(q, k, v, scale=1.0, mask=counted)
    assert len(calls) == 1


def test_dropout_keeps_the_mean() -> None:
    torch.manual_seed(0)
    q, k, v = (x.detach() for x in tensors(4, 4, 4))
    draws = torch.stack([attend_reference(q, k, v, scale=0.3, dropout=0.5) for _ in range(4000)])
    kept = attend_reference(q, k, v, scale=0.3)
    assert not torch.equal(draws[0], draws[1])
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - kept).abs() <= 5 * error).all()


# --- the choice ------------------------------------------------------------------------


def chosen(**attrs: Any) -> str:
    settings = {"mask": None, "score": None, "has": (), "causal": False, **attrs}
    return choose_attention(Node("a", "attend", (), tuple(settings.items()), ())).function


def test_choice_depends_on_what_the_programs_are() -> None:
    assert chosen() == "attend_full"
    assert chosen(mask=CAUSAL, causal=True) == "attend_causal"
    assert chosen(mask=window(4)) == "attend"
    assert chosen(mask=CAUSAL, causal=True, score=alibi(4)) == "attend"
    assert chosen(score=softcap(30.0)) == "attend"
    assert chosen(mask=CAUSAL, causal=True, has=("sink",)) == "attend"


def test_torch_can_be_asked_for_and_gives_way_where_it_cannot() -> None:
    assert chosen(kernel="torch") == "attend_full"
    assert chosen(kernel="torch", mask=CAUSAL, causal=True) == "attend_causal"
    assert chosen(kernel="torch", mask=window(4)) == "attend_biased"
    assert chosen(kernel="torch", mask=CAUSAL, causal=True, score=alibi(4)) == "attend_biased"
    assert chosen(kernel="torch", score=softcap(30.0)) == "attend_reference"
    assert chosen(kernel="torch", mask=CAUSAL, causal=True, has=("sink",)) == "attend_reference"
    assert chosen(kernel="reference") == "attend_reference"
    assert chosen(kernel="triton") == "attend"


def test_a_score_is_additive_when_s_stands_alone_in_a_sum() -> None:
    assert is_additive(scalar("s"))
    assert is_additive(op("add", op("sub", "s", op("mul", "h", "q")), "k"))
    assert not is_additive(op("sub", "q", "s"))
    assert not is_additive(op("mul", "s", 2))
    assert not is_additive(op("add", "s", op("mul", "s", "q")))
