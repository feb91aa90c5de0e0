"""Blocks of attention by torch's CPU kernel, which holds no scores: for programs that only mask.

It is called with the keys that a block visits, so it spends nothing on the others, and is about a tenth faster than
the products of ``blockwise.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tantra_compiler.runtime.blockwise_plan import Share, pairs_of_scope
from tantra_compiler.runtime.blockwise_rows import BlockPiece, BlockRows, BlockwiseProblem


def fits_fused_kernel(problem: BlockwiseProblem, share: Share) -> bool:
    """Whether torch's kernel can take the blocks, and has work for every thread: its backward pass shares out pairs.

    In bfloat16 it is slower than in float32, and less exact than products of our own.
    """
    program, one_width = problem.program, problem.q.shape[-1] == problem.v.shape[-1]
    if problem.q.dtype is not problem.wide or program.score is not None or problem.dropout or not one_width:
        return False
    return pairs_of_scope(program, share) >= torch.get_num_threads()


def fused_rows(rows: BlockRows) -> tuple[Tensor, Tensor, Tensor]:
    """For the rows of a block: output, log-sum-exp, and which have no key."""
    if not rows.block.pieces:
        return rows.without_keys()
    here = BlockPiece(rows, *rows.block.pieces)
    bias = block_bias(here)
    operands = _operands(here)
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        *operands, attn_mask=bias, scale=rows.problem.scale
    )
    lse = lse.reshape(rows.pairs, rows.height, 1)
    return out.reshape(rows.pairs, rows.height, -1), lse, _without_keys(here, bias)


def fused_gradients(rows: BlockRows, dout: Tensor, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by the queries of a block, and by the keys and values that they visit.

    ``out`` and ``lse`` [pairs, rows, 1] may have a sink in them; ``lse`` is finite.
    """
    here = BlockPiece(rows, *rows.block.pieces)
    dout, out = (by_pair(rows, x) for x in (dout, out))
    lse = lse.reshape(*dout.shape[:-1])
    found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        dout, *_operands(here), out, lse, 0.0, False, attn_mask=block_bias(here), scale=rows.problem.scale
    )
    dq, dk, dv = (x.reshape(rows.pairs, -1, x.shape[-1]) for x in found)
    return dq, dk, dv


def block_bias(here: BlockPiece) -> Tensor | None:
    """0 where the mask allows, else -inf; broadcasts to [batch, kv heads, rows, columns]. None where all is 0."""
    if not here.piece.masked:
        return None
    _, heads, _ = here.rows.shape
    allowed, group = here.allowed, here.rows.problem.lengths.group
    allowed = allowed.view(*(1,) * (4 - allowed.dim()), *allowed.shape)
    allowed = allowed.expand(-1, heads if allowed.shape[1] > 1 else group, -1, -1)
    allowed = allowed.reshape(allowed.shape[0], -1, here.rows.height, allowed.shape[-1])
    bias = torch.zeros(*allowed.shape[:-1], here.piece.width, dtype=here.rows.problem.q.dtype)
    for columns, of_mask in here.masked_columns():
        bias[..., columns].masked_fill_(~allowed[..., of_mask], -torch.inf)
    return bias


def by_pair(rows: BlockRows, x: Tensor) -> Tensor:
    """X [pairs, n, width] as the kernel reads it, [batch, kv heads, n, width]; it takes no strides within a row."""
    x = x.view(rows.shape[0], -1, *x.shape[1:])
    return x if x.stride(-1) == 1 else x.contiguous()


def _operands(here: BlockPiece) -> list[Tensor]:
    """Queries, keys and values."""
    problem, rows = here.rows.problem, here.rows
    found = [rows.of_queries(problem.q), rows.of_keys(problem.k, here.piece), rows.of_keys(problem.v, here.piece)]
    return [by_pair(rows, x) for x in found]


def _without_keys(here: BlockPiece, bias: Tensor | None) -> Tensor:
    """Rows that the mask leaves nothing: there are none where some column needs no mask."""
    shape = (*here.rows.shape[:1], here.rows.pairs // here.rows.shape[0], here.rows.height, 1)
    if bias is None or sum(hi - lo for lo, hi in here.piece.masked) < here.piece.width:
        empty = torch.zeros((), dtype=torch.bool)
    else:
        empty = bias.amax(-1, keepdim=True) < 0
    return empty.expand(shape).reshape(here.rows.pairs, here.rows.height, 1)
