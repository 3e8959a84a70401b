"""What was published: mean part of all devices that is given out, in percent, over seeds 42 to 51.

Worked out from `experiments/analysis/expected_results/analysis_allo_discrete.csv` of
hkust-adsl/kubernetes-scheduler-simulator (Apache License 2.0).
"""

from __future__ import annotations

AT_CAPACITY: dict[str, dict[str, float]] = {
    policy: dict(
        zip(
            (
                "default",
                "cpu050",
                "cpu100",
                "gpushare40",
                "gpushare100",
                "gpuspec10",
                "gpuspec20",
                "multigpu20",
                "multigpu40",
            ),
            values,
            strict=True,
        )
    )
    for policy, values in {
        "random": (86.30, 89.02, 87.44, 84.86, 78.90, 86.26, 85.90, 86.92, 85.38),
        "dot product": (90.62, 93.03, 91.73, 89.30, 81.98, 90.17, 88.29, 91.85, 94.04),
        "clustering": (91.65, 93.52, 92.42, 89.76, 82.22, 91.96, 89.11, 93.34, 95.35),
        "packing": (91.78, 93.46, 92.50, 89.77, 82.13, 92.24, 89.28, 93.50, 95.59),
        "best fit": (92.86, 93.56, 93.26, 91.44, 84.62, 93.10, 88.46, 93.73, 95.10),
        "FGD": (95.23, 95.00, 95.21, 93.96, 86.64, 94.66, 94.66, 95.53, 96.91),
    }.items()
}
"""By policy and workload, when what has arrived asks for 100 % of the devices."""

AT_END: dict[str, float] = {"default": 95.39, "gpushare100": 86.90}
"""Of FGD by workload, when what has arrived asks for 130 %."""
