"""Kubernetes control planes for development and tests: embedded child processes, kind, or existing clusters.

Nothing is imported here, so that the supervisor process stays small; see `controlplane.plane` for the API.
"""
