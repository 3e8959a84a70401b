"""The pages of the documentation, and the commands and links in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(set(ROOT.glob("examples/*/README.md")) - {ROOT / "examples/00-grid/README.md"})
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "examples/00-grid/README.md",
    *EXAMPLES,
    ROOT / "manifests/member/README.md",
]
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SHELLS = {"console", "sh", "bash", "shell"}


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    lines: tuple[str, ...]

    def commands(self) -> list[str]:
        """Return the commands of a shell's block, each with its continuation lines; output is left out."""
        if self.language not in _SHELLS:
            return []
        if self.language != "console":
            return ["\n".join(self.lines)]
        commands: list[list[str]] = []
        here = ""
        for line in self.lines:
            if here or (commands and commands[-1][-1].endswith("\\")):
                commands[-1].append(line)
                here = "" if line == here else here
            elif line.startswith("$ "):
                commands.append([line.removeprefix("$ ")])
                found = re.search(r"<<(\w+)", line)
                here = found.group(1) if found else ""
        return ["\n".join(command) for command in commands]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found = []
    for indent, language, body in _BLOCK.findall(page.read_text(encoding="utf-8")):
        found.append(Block(language, tuple(line.removeprefix(indent) for line in body.splitlines())))
    return found


def commands(page: Path) -> list[str]:
    """Return the commands of a page, in order."""
    return [command for block in blocks(page) for command in block.commands()]


def name_of(page: Path) -> str:
    """Return the path of a page inside the repository."""
    return str(page.relative_to(ROOT))
