"""Runs that are killed: forked, so that the tensor library is imported once.

``python -m tests.train.kills FOLDER calls FIRST STRIDE`` kills at every STRIDE-th call that changes the disk from FIRST
on; ``... FOLDER times`` at random moments. Each killed run is resumed, and the digest of what it ends with is printed,
one per line, after the digest of a run that was left alone.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from torch.utils import tensorboard  # noqa: F401

from tantra_dsl.train import start, train
from tantra_dsl.train.checkpoint import listed, load
from tantra_dsl.train.folder import RunFolder
from tests.train import fake_model
from tests.train.fake_model import FakeSpec

CALLS = ("fsync", "rename", "replace", "mkdir", "open", "rmdir", "unlink", "ftruncate")


def spec(data, dim=16):
    recipe = {"data": str(data), "steps": 12, "batch": 4, "save_every": 3, "eval_batches": 1, "keep": 1, "log_every": 2,
              "precision": ["float32"], "optimizer": ["muon"]}  # fmt: skip
    return FakeSpec({"vocab": 256, "context": 16, "dim": dim}, recipe)


def go(folder, data):
    """Starts or resumes, as a user would."""
    if RunFolder(folder).is_run:
        train(resume=folder, load=fake_model.load, progress=None)
    else:
        train(spec(data), out=folder, progress=None)


def kill_at_call(number):
    """Makes the ``number``-th call that changes the disk the last thing this process does."""
    left = [number]
    for name in CALLS:
        setattr(os, name, _deadly(getattr(os, name), left))


def _deadly(function, left):
    def call(*arguments, **named):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)

    return call


def forked(action):
    """Runs ``action`` in a child; its process id."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    return child


def ended(child):
    """How a child ended: its exit status, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def digest(folder):
    """Of everything that decides how a run goes on, and of the losses that it logged."""
    found = load(listed(RunFolder(folder).checkpoints)[0])
    content = hashlib.sha256(f"{found.position.step} {found.position.loss} {found.position.validation_loss}".encode())
    for part in (found.weights, found.state):
        for name in sorted(part):
            content.update(name.encode() + part[name].numpy().tobytes())
    metrics = RunFolder(folder).metrics.read_text().splitlines()
    losses = [line.split(', "lr"')[0] for line in metrics]
    content.update("\n".join(losses).encode())
    return content.hexdigest()


def resume_and_print(folder, data):
    status = ended(forked(lambda: go(folder, data)))
    print(digest(folder) if status == 0 else f"resuming ended with {status}", flush=True)


def every_call(root, data, first, stride):
    number, status = int(first), -signal.SIGKILL
    while status == -signal.SIGKILL:
        folder = root / f"call-{number}"
        status = ended(forked(lambda number=number, folder=folder: (kill_at_call(number), go(folder, data))))
        resume_and_print(folder, data)
        number += int(stride)


def random_times(root, data):
    chance = random.Random(0)
    for number in range(4):
        folder = root / f"time-{number}"
        for _ in range(4):
            child = forked(lambda folder=folder: go(folder, data))
            time.sleep(chance.uniform(0.02, 0.25))
            os.kill(child, signal.SIGKILL)
            ended(child)
        resume_and_print(folder, data)


if __name__ == "__main__":
    torch.set_num_threads(1)
    start.draw = lambda *_: []  # slow, and the last thing that a run does
    root = Path(sys.argv[1])
    (root / "text.txt").write_text("the cat sat on the mat and the dog ate the rat\n" * 40)
    resume_and_print(root / "alone", root / "text.txt")
    {"calls": every_call, "times": random_times}[sys.argv[2]](root, root / "text.txt", *sys.argv[3:])
