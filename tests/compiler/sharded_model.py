"""A process of a group that trains a sharded model; prints how far its gradients are from those of one process."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

import tantra_dsl

MODEL = """
model sharded {
  vocab: 64
  context: 32
  dim: 32
  embed: embedding(vocab, dim)
  layers: 2 of block {
    wiring: pre(norm: rms)
    attention { heads: 4, kv_heads: 2, mask: causal and window(5), score: softcap(20) }
    ffn { hidden: 64 }
  }
  final_norm: rms
  head: linear(vocab)
  objective: next_token
}
"""


def main(rank: int, world: int, store: str) -> None:
    """Run one of ``world`` processes, which meet at the file ``store``."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    torch.manual_seed(0)
    alone, sharded = (tantra_dsl.loads(MODEL).compile(seed=1) for _ in range(2))
    sharded.load_state_dict(alone.state_dict())
    mesh = init_device_mesh("cpu", (world,))
    for layer in sharded.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    tokens = torch.randint(64, (2, 32))
    register_fsdp_forward_method(sharded, "loss")
    alone.loss(tokens=tokens).backward()
    sharded.loss(tokens=tokens).backward()
    expected = dict(alone.named_parameters())
    worst = 0.0
    for name, param in sharded.named_parameters():
        assert isinstance(param.grad, DTensor), name
        whole, wanted = param.grad.full_tensor(), expected[name].grad
        assert wanted is not None
        worst = max(worst, float((whole - wanted).abs().max() / wanted.abs().max()))
    if rank == 0:
        print(f"{worst:.3g}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
