"""``python -m tantra_dsl`` is ``tantra``."""

import sys

from tantra_dsl.cli import main

sys.exit(main())
