"""What all tests share: the fixtures that give a control plane."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.plugins.controlplane", "tests.plugins.seeding"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that need no control plane run first: they fail sooner."""
    late = {item.path for item in items if item.get_closest_marker("e2e") is not None}
    items.sort(key=lambda item: item.path in late)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured, in whichever process that was."""
    every = (each for reports in terminalreporter.stats.values() for each in reports)
    calls = [each for each in every if isinstance(each, pytest.TestReport) and each.when == "call"]
    lines = [text for each in calls for name, text in each.user_properties if name == "measured"]
    if lines:
        terminalreporter.section("measured")
        terminalreporter.write("\n".join(lines) + "\n")
