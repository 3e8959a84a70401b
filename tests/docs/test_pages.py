"""What the documentation says is complete and leads somewhere: links, reasons, settings, alerts, examples."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from computegrid.api import reference
from computegrid.api.ai_job import AIJob
from computegrid.metrics import reference as metrics_reference
from computegrid.reasons import ConditionType, Reason
from computegrid.shell.settings import Settings
from controlplane.programs import CLUSTER_PROGRAMS
from tests.docs.pages import PAGES, ROOT, blocks, name_of

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TARGET = re.compile(r"^([a-z-]+):.*## ", re.MULTILINE)
OPERATIONS = ROOT / "docs/operations.md"


def anchors(page: Path) -> set[str]:
    titles = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def settings_table() -> str:
    """The table of settings as `docs/operations.md` must have it."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        rows.append(
            f"| `COMPUTEGRID_{name.upper()}` | `{default}` | {field.description} |".replace("``", "empty")
        )
    return "\n".join(rows)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_inside_the_repository_lead_somewhere(page: Path):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)}: {link}"


def test_every_reason_has_a_meaning_and_a_remedy():
    text = OPERATIONS.read_text(encoding="utf-8").partition("## Reasons")[2]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", text, re.MULTILINE)
    told = [name for name, meaning, remedy in rows if meaning.strip() and remedy.strip()]
    assert sorted(told) == sorted(Reason)


def test_every_condition_of_a_job_is_explained():
    text = (ROOT / "docs/concepts.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([A-Z]\w+)` \| ", text, re.MULTILINE)) >= set(ConditionType)


def test_settings_are_those_of_the_operator():
    assert settings_table() in OPERATIONS.read_text(encoding="utf-8"), settings_table()


def test_every_alert_has_its_section():
    rules = yaml.safe_load((ROOT / "charts/computegrid/alerts/computegrid.yaml").read_text(encoding="utf-8"))
    named = {rule["alert"].lower() for group in rules["groups"] for rule in group["rules"]}
    assert anchors(ROOT / "docs/alerts.md") - {"alerts"} == named


def test_generated_references_are_up_to_date():
    assert (ROOT / "docs/api.md").read_text(encoding="utf-8") == reference.reference()
    assert (ROOT / "docs/metrics.md").read_text(encoding="utf-8") == metrics_reference.reference()


def test_make_help_lists_every_target_and_the_guide_explains_it():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = TARGET.findall(makefile)
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  make ([a-z-]+) ", said, re.MULTILINE) == targets
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for target in set(targets) - {"help", "clean"}:
        assert f"`make {target}`" in guide, target


def test_jobs_in_the_readme_are_valid():
    documents = [
        document
        for block in blocks(ROOT / "README.md")
        if block.language == "yaml"
        for document in yaml.safe_load_all("\n".join(block.lines))
    ]
    jobs = [document for document in documents if document["kind"] == "AIJob"]
    assert jobs
    for job in jobs:
        AIJob.parse_strictly(job)


def test_the_readme_names_every_program_that_is_built():
    text = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    for program in CLUSTER_PROGRAMS:
        assert program.name == "pki" or program.name in text, program.name


def test_the_changelog_has_the_sections_of_its_format():
    titles = HEADING.findall((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert titles[:2] == ["Changelog", "[Unreleased]"]
    assert set(titles[2:]) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"} | {
        title for title in titles if re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", title)
    }
