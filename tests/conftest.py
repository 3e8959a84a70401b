"""What all tests share: the fixtures that give a control plane."""

from __future__ import annotations

pytest_plugins = ["tests.plugins.controlplane"]
