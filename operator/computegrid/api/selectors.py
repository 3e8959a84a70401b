"""Choosing nodes, and clusters, by their labels."""

from __future__ import annotations

from typing import Annotated, Literal

from computegrid.api.base import CamelModel, Cel, absent_when_empty, list_of
from computegrid.api.scalars import LabelKey, Labels, LabelValue


class LabelExpression(CamelModel):
    """One condition on one label."""

    cel = (
        Cel(
            "self.operator in ['In', 'NotIn'] ? has(self.values) : !has(self.values)",
            "`values` must be set for the operators In and NotIn, and absent for Exists and DoesNotExist",
            ".values",
        ),
    )

    key: LabelKey
    """Key of the label. Example: `nvidia.com/gpu.product`."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label is compared: `In` and `NotIn` with `values`; `Exists` and `DoesNotExist` without."""
    values: Annotated[tuple[LabelValue, ...], list_of(64, least=1, unique=True)] | None = None
    """Values to compare with. Example: `[NVIDIA-H100-80GB-HBM3]`."""


class LabelSelector(CamelModel):
    """Labels that are wanted. All entries must hold; an empty selector chooses everything."""

    match_labels: Labels = absent_when_empty()
    """Labels with exactly these values. Example: `{accelerator: huawei-Ascend910}`."""
    match_expressions: Annotated[tuple[LabelExpression, ...], list_of(16)] = ()
    """Conditions that exact values cannot say."""


class NodeLabelRule(LabelSelector):
    """Labels by which a device model is recognised on a node. All conditions of one rule must hold."""

    cel = (
        Cel(
            "size(self.?matchLabels.orValue({})) + size(self.?matchExpressions.orValue([])) > 0",
            "at least one of `matchLabels` and `matchExpressions` must have an entry",
        ),
    )
