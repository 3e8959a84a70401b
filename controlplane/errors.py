"""Errors of the control plane; each message says what happened and what to do about it."""

from __future__ import annotations


class ControlPlaneError(Exception):
    """Anything this package refuses or fails to do."""


class ToolError(ControlPlaneError):
    """A program is missing and could not be built."""


class StartError(ControlPlaneError):
    """A part of the control plane did not become ready."""


class UnavailableError(ControlPlaneError):
    """A back end cannot run on this machine; tests skip with this message."""
