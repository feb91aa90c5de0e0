"""Seconds from a shipped spec to a module, beyond importing torch; reads a question, prints an answer."""

from __future__ import annotations

import json
import sys
import time

import torch.nn


def answer(spec: str) -> dict[str, float]:
    """Both clocks, from before tantra is imported to a module on the meta device."""
    torch.set_num_threads(1)
    torch.nn.Linear(1, 1, device="meta")
    wall, cpu = time.perf_counter(), time.process_time()
    import tantra_dsl

    module = tantra_dsl.load(spec).compile(device="meta")
    found = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return {**found, "parameters": sum(weight.numel() for weight in module.parameters())}


if __name__ == "__main__":
    print(json.dumps(answer(**json.load(sys.stdin))))
