"""The headless Service by which the pods of a gang find each other: in which clusters a job may have one."""

from __future__ import annotations

from computegrid.state.demand import JobRow
from computegrid.state.tables import Tables


def service_cluster(row: JobRow) -> str | None:
    """Return the cluster that holds the job's headless Service, if it has one."""
    if row.placement is None or row.spec.get("framework", "None") == "None":
        return None
    return row.placement.cluster


def clusters_with_service(row: JobRow, tables: Tables) -> dict[str, bool]:
    """Return the clusters that may hold the job's Service, and whether it goes before the job may.

    An attempt before a restart of the operator may have left one anywhere, and nobody remembers where.
    """
    current = service_cluster(row)
    there = current is not None and current in tables.clusters.by_name and current not in tables.fenced.all
    found = {current: True} if there and current is not None else {}
    if row.attempt and row.spec.get("framework", "None") != "None":
        reachable = (name for name, answers in tables.reachable.items() if answers)
        found |= {name: False for name in reachable if name != current}
    return found
