"""Every command of the documentation works: it is run here, or a test that runs it is named here."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote

import pytest
import yaml

from tests.docs.conftest import Shell
from tests.docs.pages import EXAMPLES, PAGES, ROOT, Block, blocks, commands, name_of

PROVEN = {
    r"make demo( EXIT=1)?": "tests/demo/test_demo.py::test_the_demonstration_ends_by_itself",
    r"make help": "tests/docs/test_pages.py::test_make_help_lists_every_target_and_the_guide_explains_it",
    r"make (verify|test)": ".ci/run",
    r"kubectl grid (why|plan|pools|queues|defrag|snapshot)\b.*|computegrid replay .*": (
        "tests/e2e/test_questions.py::test_every_command_answers"
    ),
}
"""Commands that are not run here, and what runs them."""

RUN = [
    ROOT / "README.md",
    ROOT / "docs/concepts.md",
    ROOT / "docs/failures.md",
    *EXAMPLES,
    ROOT / "docs/operations.md",
    ROOT / "docs/install.md",
]
"""Pages whose commands are run, in this order on one grid; the last one ends with the uninstall."""

ELSEWHERE = {
    "examples/00-grid/README.md": "tests/e2e/conftest.py::grid_world",
    "manifests/member/README.md": "tests/docs/test_commands.py::test_commands_work[docs/install.md]",
    "docs/members.md": "tests/docs/test_commands.py::test_commands_work[docs/install.md]",
    "CONTRIBUTING.md": "tests/docs/test_commands.py::test_commands_have_a_proof",
    "docs/scheduling.md": "tests/e2e/test_questions.py::test_every_command_answers",
    "docs/simulate.md": "tests/simulate/test_command.py::test_commands_of_the_page_work",
}
"""Pages whose commands are not run as they stand, and what does the same."""


def proof_of(command: str) -> str | None:
    """Return what proves a command that is not run here."""
    return next((proof for pattern, proof in PROVEN.items() if re.fullmatch(pattern, command)), None)


def script(page: Path) -> str:
    """Return the commands of a page that are run here, each one told before it runs."""
    chosen = [command for command in commands(page) if proof_of(command) is None]
    return "\n".join(f"echo {quote(f'$ {command.splitlines()[0]}')}\n{command}" for command in chosen)


@pytest.mark.e2e
@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_commands_work(page: Path, shell: Shell):
    if page in EXAMPLES:
        _start_over(page.parent, shell)
    done = shell(script(page))
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def _start_over(example: Path, shell: Shell) -> None:
    """Delete the jobs of an example, which the demonstration has run: its reader has a grid without them."""
    documents = [d for path in example.glob("*.yaml") for d in yaml.safe_load_all(path.read_text())]
    for about in (document["metadata"] for document in documents if document["kind"] == "AIJob"):
        done = shell(f"kubectl delete aij {about['name']} -n {about['namespace']} --ignore-not-found")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name_of)
def test_commands_have_a_proof(page: Path):
    if page in RUN:
        return
    assert name_of(page) in ELSEWHERE
    proof = ELSEWHERE[name_of(page)]
    assert (ROOT / proof.partition("::")[0]).exists()


@pytest.mark.parametrize("proof", sorted({*PROVEN.values(), *ELSEWHERE.values()}))
def test_proofs_exist(proof: str):
    path, _, test = proof.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not test or re.search(rf"^def {test.partition('[')[0]}\(", text, re.MULTILINE)


def test_ci_runs_what_it_is_said_to():
    text = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "step make verify" in text
    assert "step make test" in text


def test_commands_are_read_as_a_person_reads_them():
    lines = ("$ a \\", "    b", "output", "$ c <<END", "$ not a command", "END", "$ d")
    assert Block("console", lines).commands() == ["a \\\n    b", "c <<END\n$ not a command\nEND", "d"]
    assert Block("", lines).commands() == []


def test_pages_name_no_placeholders_in_commands():
    for page in RUN:
        for block in blocks(page):
            for command in block.commands():
                assert not re.search(
                    r"\b[A-Z]{4,}\b(?!=)", re.sub(r"<<\w+.*", "", command, flags=re.DOTALL)
                ), command
