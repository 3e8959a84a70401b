"""The Dockerfile, instruction by instruction."""

from __future__ import annotations

from charts.generate import ROOT

DOCKERFILE = ROOT / "Dockerfile"


def instructions() -> list[str]:
    """Return the instructions, each as one line, without comments."""
    text = "\n".join(
        line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    )
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
