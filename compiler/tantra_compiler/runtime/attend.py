"""The attention operator: one meaning, registered with PyTorch, and the execution that suits the device.

Shapes are those of ``attention.py``. On CPUs it runs block by block over what the mask lets be seen; on GPUs by Triton
kernels that are made from the program. Both keep memory linear in the length, forward and backward.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula

from tantra_compiler.runtime.attention import attend_biased
from tantra_compiler.runtime.blockwise import backward_blocks, forward_blocks
from tantra_compiler.runtime.cache import Cache
from tantra_compiler.runtime.operators import operator_namespace
from tantra_compiler.runtime.program import AttentionProgram, Captures
from tantra_compiler.runtime.reference import reference

_FEW_QUERIES = 8
"""With no more queries on a CPU, one row of the mask costs less than asking what it spans."""


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    program: AttentionProgram,
    *,
    scale: float,
    captures: Captures = (),
    sink: Tensor | None = None,
    dropout: float = 0.0,
    cache: Cache | None = None,
) -> Tensor:
    """Attention under the mask and the score of ``program``, which read ``captures``.

    ``sink`` [heads] is a logit that joins the denominator only. Dropout draws its seed from torch's CPU generator.
    """
    if cache is not None:
        k, v = cache.append(k), cache.append(v)
    if q.is_cpu and q.shape[1] <= _FEW_QUERIES and program.score is None and sink is None and not dropout:
        everything = program.all_captures(q.shape[1], k.shape[1], captures)
        return attend_biased(q, k, v, scale=scale, mask=program.mask, mask_captures=everything)
    seed = torch.randint(2**62, ()) if dropout else None
    if not q.is_cpu and not has_kernel(program, q, k, v):
        everything = program.all_captures(q.shape[1], k.shape[1], captures)
        number = int(seed.item()) if seed is not None else 0
        return reference(q, k, v, program, everything, scale=scale, sink=sink, dropout=dropout, seed=number)[0]
    out: Tensor = ATTEND(q, k, v, list(captures), sink, seed, program.name, scale, dropout)[0]
    return out


# --- the operator --------------------------------------------------------------------------

_ATTEND_SCHEMA = (
    "attend(Tensor q, Tensor k, Tensor v, Tensor[] captures, Tensor? sink, Tensor? seed, str program, float scale, "
    "float dropout) -> (Tensor out, Tensor lse)"
)
_ATTEND_BACKWARD_SCHEMA = (
    "attend_backward(Tensor dout, Tensor dlse, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, "
    "Tensor[] captures, Tensor? sink, Tensor? seed, str program, float scale, float dropout) "
    "-> (Tensor dq, Tensor dk, Tensor dv, Tensor dsink, Tensor[] dcaptures)"
)


def _seed_number(seed: Tensor | None) -> int:
    return 0 if seed is None else int(seed.item())


def _attend_on_cpu(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    captures: list[Tensor],
    sink: Tensor | None,
    seed: Tensor | None,
    program: str,
    scale: float,
    dropout: float,
) -> tuple[Tensor, Tensor]:
    known = AttentionProgram.known[program]
    everything = known.all_captures(q.shape[1], k.shape[1], tuple(captures))
    return forward_blocks(q, k, v, known, everything, scale=scale, sink=sink, dropout=dropout, seed=_seed_number(seed))


def _attend_backward_on_cpu(
    dout: Tensor,
    dlse: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    captures: list[Tensor],
    sink: Tensor | None,
    seed: Tensor | None,
    program: str,
    scale: float,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    known = AttentionProgram.known[program]
    everything = known.all_captures(q.shape[1], k.shape[1], tuple(captures))
    settings = {"scale": scale, "sink": sink, "dropout": dropout, "seed": _seed_number(seed), "dlse": dlse}
    found = backward_blocks(dout, q, k, v, out, lse, known, everything, **settings)  # type: ignore[arg-type]
    return _gradients(q, found, captures)


def _gradients(
    q: Tensor, found: tuple[Tensor, Tensor, Tensor, Tensor | None, tuple[Tensor | None, ...]], captures: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    """As the operator returns them: an empty tensor stands for no gradient."""
    dq, dk, dv, dsink, dcaptures = found
    rest = [q.new_empty(0) if each is None else each for each in dcaptures[: len(captures)]]
    return dq, dk, dv, q.new_empty(0) if dsink is None else dsink, rest


def _attend_on_gpu(q: Tensor, k: Tensor, v: Tensor, captures: list[Tensor], *rest: Any) -> tuple[Tensor, Tensor]:
    from tantra_compiler.kernels.run import forward

    sink, seed, program, scale, dropout = rest
    known = AttentionProgram.known[program]
    everything = known.all_captures(q.shape[1], k.shape[1], tuple(captures))
    return forward(q, k, v, known.text, everything, sink=sink, seed=_seed_number(seed), scale=scale, dropout=dropout)


def _attend_backward_on_gpu(
    dout: Tensor, dlse: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, captures: list[Tensor],
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:  # fmt: skip
    from tantra_compiler.kernels.run import backward

    sink, seed, program, scale, dropout = rest
    known = AttentionProgram.known[program]
    everything = known.all_captures(q.shape[1], k.shape[1], tuple(captures))
    settings = {"scale": scale, "sink": sink, "dropout": dropout, "seed": _seed_number(seed), "dlse": dlse}
    return _gradients(q, backward(dout, q, k, v, out, lse, known.text, everything, **settings), captures)


def _attend_fake(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(q.dtype, torch.float32)
    out = v.new_empty(*q.shape[:3], v.shape[-1])
    return out, q.new_empty(q.shape[0], q.shape[2], q.shape[1], dtype=wide)


def _attend_backward_fake(
    dout: Tensor, dlse: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, captures: list[Tensor],
    sink: Tensor | None, seed: Tensor | None, program: str, *rest: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:  # fmt: skip
    learned = {site.capture for site in AttentionProgram.known[program].sites}
    dcaptures = [x.new_empty(x.shape) if i in learned else q.new_empty(0) for i, x in enumerate(captures)]
    dsink = q.new_empty(0) if sink is None else sink.new_empty(sink.shape)
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), dsink, dcaptures


def _keep_attention(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, captures, sink, seed, program, scale, dropout = inputs
    ctx.save_for_backward(q, k, v, *output, sink, seed, *captures)
    ctx.settings = program, scale, dropout


@once_differentiable
def _attend_gradients(ctx: Any, dout: Tensor, dlse: Tensor) -> tuple[Any, ...]:
    """One for each input of the operator."""
    q, k, v, out, lse, sink, seed, *captures = ctx.saved_tensors
    found = ATTEND_BACKWARD(dout, dlse, q, k, v, out, lse, captures, sink, seed, *ctx.settings)
    dq, dk, dv, dsink, dcaptures = found
    rest = [each if each.shape == x.shape and x.numel() else None for each, x in zip(dcaptures, captures, strict=True)]
    return dq, dk, dv, rest, None if sink is None else dsink, None, None, None, None


def _attend_flops(q: Sequence[int], k: Sequence[int], v: Sequence[int], *rest: Any, **_: Any) -> int:
    """Two products of all queries with all keys: what the mask spares is known to ``tantra show``."""
    batch, queries, heads, width = q
    return 2 * batch * heads * queries * k[1] * (width + v[-1])


def _attend_backward_flops(
    dout: Sequence[int], dlse: Any, q: Sequence[int], k: Sequence[int], *rest: Any, **_: Any
) -> int:
    """Four products: gradients of weights, values, queries and keys. The scores, made again, are not the model's."""
    batch, queries, heads, width = q
    return 2 * batch * heads * queries * k[1] * (2 * width + 2 * dout[-1])


def _attend_autocast(device: str) -> Callable[..., Any]:
    """The rule under autocast: queries, keys and values in its precision."""

    def rule(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> Any:
        dtype = torch.float64 if q.dtype == torch.float64 else torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return ATTEND(q.to(dtype), k.to(dtype), v.to(dtype), *rest)

    return rule


def _registered(name: str, schema: str, on_cpu: Any, on_gpu: Any, fake: Any, flops: Any) -> Any:
    """An operator, as torch.compile, checkpointing and FLOP counters know it."""
    namespace = operator_namespace(__name__)
    _ATTEND_LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    _ATTEND_LIBRARY.impl(name, on_cpu, "CPU")  # type: ignore[no-untyped-call]
    _ATTEND_LIBRARY.impl(name, on_gpu, "CUDA")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"{namespace}::{name}", fake, lib=_ATTEND_LIBRARY)
    operator = getattr(getattr(torch.ops, namespace), name)
    register_flop_formula(operator)(flops)
    return operator.default


def _registered_attend() -> Any:
    """The operator with its gradient and its rule under autocast."""
    operator = _registered("attend", _ATTEND_SCHEMA, _attend_on_cpu, _attend_on_gpu, _attend_fake, _attend_flops)
    for device, key in (("cpu", "AutocastCPU"), ("cuda", "AutocastCUDA")):
        _ATTEND_LIBRARY.impl("attend", _attend_autocast(device), key)  # type: ignore[no-untyped-call]
    name = f"{operator_namespace(__name__)}::attend"
    torch.library.register_autograd(name, _attend_gradients, setup_context=_keep_attention, lib=_ATTEND_LIBRARY)
    return operator


_ATTEND_LIBRARY = torch.library.Library(operator_namespace(__name__), "FRAGMENT")  # type: ignore[no-untyped-call]
ATTEND_BACKWARD = _registered(
    "attend_backward", _ATTEND_BACKWARD_SCHEMA, _attend_backward_on_cpu, _attend_backward_on_gpu,
    _attend_backward_fake, _attend_backward_flops,
)  # fmt: skip
ATTEND = _registered_attend()


# --- kernels -------------------------------------------------------------------------------


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def has_kernel(program: AttentionProgram, q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether the program's kernels can be built for such tensors; where not, one warning says why."""
    return _kernel_builds(program.text, q.device, q.dtype, q.shape[-1], v.shape[-1])


@lru_cache(maxsize=256)
def _kernel_builds(text: str, device: torch.device, dtype: torch.dtype, width: int, value_width: int) -> bool:
    try:
        from tantra_compiler.kernels.run import obstacle
    except ImportError:
        reason: str | None = "this file stands alone, without tantra's kernels"
    else:
        reason = obstacle(text, device, dtype, width, value_width)
    if reason is not None:
        warnings.warn(f"attention {text!r} runs without its kernel, which is slow: {reason}", stacklevel=2)
    return reason is None
