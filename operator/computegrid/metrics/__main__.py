"""Writes the reference of all metrics: `python -m computegrid.metrics docs/metrics.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from computegrid.metrics.reference import reference

Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
