"""Makes the shared builders of this folder importable under ``--import-mode=importlib``, and keeps lookups offline."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))
