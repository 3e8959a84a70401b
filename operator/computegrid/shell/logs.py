"""Log lines: plain for people, JSON for collectors."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

_PLAIN = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure(level: str, form: str) -> None:
    """Send all log lines to standard error in the chosen form."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        fields = ["asctime", "levelname", "name", "message"]
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        handler.setFormatter(JsonFormatter(fmt=fields, rename_fields=names))
    else:
        handler.setFormatter(logging.Formatter(_PLAIN))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("kopf").setLevel(max(logging.getLevelName(level), logging.WARNING))
