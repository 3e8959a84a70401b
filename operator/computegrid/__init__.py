"""One grid of compute over many accelerator clusters, as a Kubernetes operator."""

__version__ = "0.1.0"
