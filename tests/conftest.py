"""What all tests share: the fixtures that give a control plane."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.plugins.controlplane", "tests.plugins.seeding"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs no control plane runs first: it fails sooner. Of the rest a module stays in one process."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)
    for item in items:
        if item.get_closest_marker("e2e") is not None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
