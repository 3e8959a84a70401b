"""From decisions to manifests, with deterministic names; pure."""
