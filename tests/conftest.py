"""What every test shares."""

from __future__ import annotations

import os

# Before torch is imported anywhere: with several workers, one thread each is faster than all cores for all of them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MKL_NUM_THREADS"] = "1"

# Before triton is imported anywhere: kernels run in its interpreter here, on the CPU.
os.environ["TRITON_INTERPRET"] = "1"
