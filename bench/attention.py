"""Attention kernels on a GPU: their numbers against float64, then their speed beside SDPA and compiled FlexAttention.

python bench/attention.py [--quick]        (`make bench-gpu`)

Without a GPU it says so and ends with status 1; ``--quick`` checks and times small sizes.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from harness.report import Report, Row, Target
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from tantra_compiler.emit.attention import AttentionPrograms
from tantra_compiler.emit.names import program_name
from tantra_compiler.runtime.attend import attend
from tantra_compiler.runtime.attention import coordinates
from tantra_compiler.runtime.program import AttentionProgram
from tantra_compiler.runtime.reference import reference
from tantra_dsl.masks.attention import AttentionMeaning
from tantra_dsl.scalars.count import allowed_pairs
from tantra_dsl.scalars.format import parse_scalar
from tantra_dsl.scalars.ir import Capture, Program

DOC = (Capture("doc", integer=True),)
HEADER = """
import torch
from torch import Tensor

from tantra_compiler.runtime.fields import run_starts, run_stops, same_starts, same_stops
from tantra_compiler.runtime.program import AttentionProgram, Site, Span
"""


@dataclass(frozen=True)
class Case:
    """An attention to time: mask and score as text, sizes, and the same for FlexAttention."""

    title: str
    mask: str | None
    length: int
    width: int
    score: str | None = None
    documents: bool = False
    heads: int = 16
    kv_heads: int = 16
    batch: int = 1
    flex_mask: Callable[..., Tensor] | None = None
    flex_score: Callable[..., Tensor] | None = None


def _causal(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return k <= q


def _window(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return (k <= q) & (q - k < 1024)


def _capped(s: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return 30 * torch.tanh(s / 30)


CAPPED = "30 * tanh(s / 30)"
CASES = (
    Case("causal, 8k, width 128", "k <= q", 8192, 128, flex_mask=_causal, batch=2),
    Case("causal, 8k, width 64", "k <= q", 8192, 64, heads=32, kv_heads=32, flex_mask=_causal, batch=2),
    Case("causal, 8k, width 128, 4 kv heads", "k <= q", 8192, 128, kv_heads=4, flex_mask=_causal, batch=2),
    Case("causal, softcap, 8k, width 128", "k <= q", 8192, 128, CAPPED, flex_mask=_causal, flex_score=_capped),
    Case("window 1k, 32k, width 128", "k <= q and q - k < 1024", 32768, 128, flex_mask=_window),
    Case("packed documents, 64k, width 128", "k <= q and doc[b, q] == doc[b, k]", 65536, 128, documents=True),
)
NUMERICS = (
    ("k <= q", None), ("k <= q and q - k < 100", None), ("abs(q - k) <= 64 or k < 8 or q < 8", "20 * tanh(s / 20)"),
    ("k <= q and (q - k < 64 or k % 64 == 63)", None), ("k <= q and doc[b, q] == doc[b, k]", "s - 0.1 * abs(q - k)"),
    (None, CAPPED),
)  # fmt: skip


def program_of(mask: str | None, score: str | None) -> AttentionProgram:
    """The program of a mask and a score given as text."""
    variables = ("q", "k", "b", "h")
    masked = None if mask is None else Program("mask", variables, parse_scalar(mask, DOC), DOC if "doc" in mask else ())
    scored = None if score is None else Program("score", ("s", *variables), parse_scalar(score))
    written = AttentionPrograms(lambda name: name)
    name = written.program(AttentionMeaning(masked, scored, name=program_name(f"bench {mask} {score}", "mask")))
    scope: dict[str, Any] = {}
    exec(HEADER + "\n\n".join(written.sources), scope)
    program = scope[name]
    assert isinstance(program, AttentionProgram)
    return program


def main() -> None:
    """Check the numbers, then time, then publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is written")
    parser.add_argument("--out", type=Path, help="folder for the results instead of bench/results")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no GPU here: the numbers of these kernels are checked by the tests, their speed by this on one")
        sys.exit(1)
    chip = torch.cuda.get_device_name()
    report = Report("attention", f"Attention on {chip}", ("torch", "triton"), options.quick, {"chip": chip})
    report.tables["numbers, error over that of plain torch in the same precision"] = [
        row for mask, score in NUMERICS for row in checked(mask, score)
    ]
    rows = [timed_case(case, 1024 if options.quick else case.length) for case in CASES]
    report.tables["speed, bfloat16"] = rows
    add_targets(report, {str(row["case"]): row for row in rows})
    report.publish(options.out)


# --- numbers -------------------------------------------------------------------------------


def checked(mask: str | None, score: str | None) -> list[Row]:
    """Errors of outputs and gradients against float64, as multiples of the error of the plain form."""
    program, rows = program_of(mask, score), list[Row]()
    for dtype in (torch.float32, torch.bfloat16):
        for width, queries, keys in ((64, 333, 333), (128, 257, 257), (80, 100, 391)):
            generator = torch.Generator("cuda").manual_seed(0)
            sizes = ((queries, 8), (keys, 2), (keys, 2))
            q, k, v = (torch.randn(2, time, heads, width, device="cuda", generator=generator) for time, heads in sizes)
            doc = (torch.arange(keys, device="cuda") // 50).expand(2, keys)
            captures = (doc,) if mask is not None and "doc" in mask else ()
            errors = error_ratios(program, (q.to(dtype), k.to(dtype), v.to(dtype)), captures)
            row = {"mask": mask or "-", "score": score or "-", "type": str(dtype).removeprefix("torch.")}
            rows.append({**row, "width": width, **errors, "within twice": max(errors.values()) <= 2})
    return rows


def error_ratios(
    program: AttentionProgram, operands: tuple[Tensor, ...], captures: tuple[Tensor, ...]
) -> dict[str, float]:
    """For the output and each gradient: the kernel's error over that of the reference in the same precision."""
    scale = operands[0].shape[-1] ** -0.5
    everything = program.all_captures(operands[0].shape[1], operands[1].shape[1], captures)

    def plain(dtype: torch.dtype) -> list[Tensor]:
        inputs = [x.to(dtype).requires_grad_() for x in operands]
        out = by_steps(inputs, program, everything, scale)
        return [out.detach(), *torch.autograd.grad((out * dout.to(out.dtype)).sum(), inputs)]

    dout = torch.randn(*operands[0].shape[:3], operands[2].shape[-1], device="cuda")
    exact, usual = plain(torch.float64), plain(operands[0].dtype)
    inputs = [x.detach().clone().requires_grad_() for x in operands]
    out = attend(*inputs, program, scale=scale, captures=captures)  # type: ignore[call-arg, arg-type, misc]
    found = [out.detach(), *torch.autograd.grad((out * dout.to(out.dtype)).sum(), inputs)]
    names = ("out", "dq", "dk", "dv")
    return {
        name: distance(got, best) / max(distance(low, best), 1e-7)
        for name, got, low, best in zip(names, found, usual, exact, strict=True)
    }


def by_steps(inputs: list[Tensor], program: AttentionProgram, captures: tuple[Tensor, ...], scale: float) -> Tensor:
    """The plain form in the precision of its inputs, softmax in at least float32, as eager models do it."""
    q, k, v = inputs
    if q.dtype in (torch.float32, torch.float64):
        return reference(q, k, v, program, captures, scale=scale)[0]
    times = q.shape[2] // k.shape[2]
    keys, values = (x.repeat_interleave(times, 2) for x in (k, v))
    s = (torch.einsum("bqhd,bkhd->bhqk", q, keys) * scale).float()
    at = coordinates(q.shape[0], q.shape[2], q.shape[1], k.shape[1], q.device)
    s = s if program.score is None else program.score(s, *at, *captures)
    s = s if program.mask is None else s.masked_fill(~program.mask(*at, *captures), -torch.inf)
    return torch.einsum("bhqk,bkhd->bqhd", s.softmax(-1).to(v.dtype), values)


def distance(found: Tensor, exact: Tensor) -> float:
    """Relative, by norms."""
    return float((found.double() - exact).norm() / exact.norm())


# --- speed ---------------------------------------------------------------------------------


def timed_case(case: Case, length: int) -> Row:
    """Times of forward and of forward with backward, ours and the others'."""
    program = program_of(case.mask, case.score)
    sizes = (case.heads, case.kv_heads, case.kv_heads)
    made = {"device": "cuda", "dtype": torch.bfloat16}
    q, k, v = (torch.randn(case.batch, length, heads, case.width, **made).requires_grad_() for heads in sizes)
    doc = documents(case.batch, length)
    captures = (doc,) if case.documents else ()
    scale = case.width**-0.5
    pairs = pairs_of(case, length, doc)
    flops = 4 * case.batch * case.heads * pairs * case.width
    rivals = {"ours": lambda q, k, v: attend(q, k, v, program, scale=scale, captures=captures)}
    rivals |= others(case, length, doc, scale)
    row: dict[str, Any] = {"case": case.title, "pairs": pairs}
    dout = torch.randn(case.batch, length, case.heads, case.width, device="cuda", dtype=torch.bfloat16)
    for name, call in rivals.items():
        forward, backward = milliseconds(call, (q, k, v), dout)
        row[f"{name} forward TFLOP/s"] = flops / forward / 1e9
        row[f"{name} backward TFLOP/s"] = 2.5 * flops / backward / 1e9
    return row


def documents(batch: int, length: int) -> Tensor:
    """Packed documents of lengths drawn around a thousand tokens."""
    generator = torch.Generator().manual_seed(0)
    starts = torch.rand(batch, length, generator=generator) < 1 / 1000
    return starts.long().cumsum(1).cuda()


def pairs_of(case: Case, length: int, doc: Tensor) -> int:
    """Allowed pairs of one sequence and head."""
    if not case.documents:
        mask = None if case.mask is None else Program("mask", ("q", "k", "b", "h"), parse_scalar(case.mask))
        return allowed_pairs(mask, length, length).value or length * length
    sizes = doc[0].unique_consecutive(return_counts=True)[1]
    return int((sizes * (sizes + 1) // 2).sum().item())


def others(case: Case, length: int, doc: Tensor, scale: float) -> dict[str, Callable[..., Tensor]]:
    """SDPA where it can do the case, and FlexAttention compiled, with its block mask made before and each time."""
    found: dict[str, Callable[..., Tensor]] = {}
    grouped = case.heads != case.kv_heads
    if case.mask == "k <= q" and case.score is None:
        found["SDPA"] = lambda q, k, v: by_sdpa(q, k, v, scale, grouped)
    if case.documents:
        mask = lambda b, h, q, k: (k <= q) & (doc[b, q] == doc[b, k])  # noqa: E731
    else:
        mask = case.flex_mask
    assert mask is not None
    compiled = torch.compile(flex_attention, dynamic=False)
    make = torch.compile(create_block_mask)
    batches = case.batch if case.documents else None
    held = make(mask, batches, None, length, length, device="cuda")

    def by_flex(q: Tensor, k: Tensor, v: Tensor, block_mask: Any = held) -> Tensor:
        parts = (x.transpose(1, 2) for x in (q, k, v))
        return compiled(*parts, case.flex_score, block_mask, scale=scale, enable_gqa=grouped).transpose(1, 2)

    found["Flex"] = by_flex
    found["Flex with its mask"] = lambda q, k, v: by_flex(
        q, k, v, make(mask, batches, None, length, length, device="cuda")
    )
    return found


def by_sdpa(q: Tensor, k: Tensor, v: Tensor, scale: float, grouped: bool) -> Tensor:
    """torch's attention by a fused backend, and no other: it fails where none takes the case."""
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True):
        parts = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(*parts, is_causal=True, scale=scale, enable_gqa=grouped).transpose(1, 2)


def milliseconds(call: Callable[..., Tensor], operands: Sequence[Tensor], dout: Tensor) -> tuple[float, float]:
    """Medians of a forward pass, and of a backward pass alone."""
    from triton.testing import do_bench

    with torch.no_grad():
        forward = do_bench(lambda: call(*operands), warmup=20, rep=60, return_mode="median")
    out = call(*operands)
    backward = do_bench(
        lambda: torch.autograd.grad(out, operands, dout, retain_graph=True), warmup=20, rep=60, return_mode="median"
    )
    return forward, backward


def add_targets(report: Report, rows: dict[str, Row]) -> None:
    """What TARGETS asks of one H100."""

    def figure(case: str, column: str) -> float | None:
        value = rows[case].get(column)
        return float(value) if value is not None else None

    def ratio(case: str, part: str, rival: str) -> float | None:
        ours, theirs = figure(case, f"ours {part} TFLOP/s"), figure(case, f"{rival} {part} TFLOP/s")
        return None if ours is None or theirs is None or math.isnan(theirs) else ours / theirs

    wide, narrow = CASES[0].title, CASES[1].title
    window, packed = CASES[4].title, CASES[5].title
    report.targets += [
        Target(f"{wide}, forward", figure(wide, "ours forward TFLOP/s"), ">=", 430, "TFLOP/s"),
        Target(f"{narrow}, forward", figure(narrow, "ours forward TFLOP/s"), ">=", 350, "TFLOP/s"),
        Target(f"{wide}, backward", figure(wide, "ours backward TFLOP/s"), ">=", 300, "TFLOP/s"),
        Target(f"{wide}, forward; FlexAttention = 1", ratio(wide, "forward", "Flex"), ">=", 1.1, "x"),
        Target(f"{wide}, backward; FlexAttention = 1", ratio(wide, "backward", "Flex"), ">=", 1.1, "x"),
        *(Target(f"{case}, forward; FlexAttention = 1", ratio(case, "forward", "Flex"), ">=", 1.2, "x")
          for case in (window, packed)),
        *(Target(f"{case}, forward; with its mask made = 1", ratio(case, "forward", "Flex with its mask"), ">=", 2, "x")
          for case in (window, packed)),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
