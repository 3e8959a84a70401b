"""Known bugs of operators, each as a small change of our code that brings it back.

A bug is a text of one module and what takes its place; `--seed-bug NAME` runs a session of tests with it. The
tests that are named must fail then. A text that is no longer there exactly once is an error: whoever changed
the code says here where the bug would be now.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug that can be sown."""

    name: str
    source: str
    """Where it was seen, or the class of bugs that it belongs to."""
    module: str
    old: str
    new: str
    caught_by: tuple[str, ...]
    """Tests, below `tests/`, of which at least one fails with it."""

    def __str__(self) -> str:
        return self.name


_WATCHES = (
    Bug(
        "relist-keeps-what-vanished",
        "kopf: after a 410 the index still has what was deleted",
        "computegrid.clusters.mirror",
        "self._sink.replace(objects)",
        'for each in objects:\n            self._sink.apply("MODIFIED", each)',
        ("clusters/test_reflector.py::test_what_vanished_in_the_gap_of_a_410_is_gone",),
    ),
    Bug(
        "surprise-ends-the-watch",
        "kopf 1145, 1276: the process runs on with a dead watch",
        "computegrid.clusters.reflector",
        'self.counters.restarts["Ended"] += 1\n                pause = 0.0\n            except Exception as',
        'self.counters.restarts["Ended"] += 1\n                pause = 0.0\n            except Gone as',
        ("clusters/test_reflector.py::test_survives_failing_requests",),
    ),
    Bug(
        "no-pause-between-watches",
        "kopf: 635 watch requests a second",
        "computegrid.clusters.reflector",
        "max(pause, self._watch_started + SPACING_SECONDS - self._clock())",
        "max(pause, 0.0016)",
        ("clusters/test_reflector.py::test_a_watch_that_closes_at_once_is_asked_for_once_a_second_at_most",),
    ),
    Bug(
        "old-event-after-a-newer-one",
        "kopf: an older version handled after the newer one; etcd 15271",
        "computegrid.clusters.ledger",
        "return version == OPAQUE or version > known",
        "return True",
        ("clusters/test_reflector.py::test_old_and_doubled_events_change_nothing",),
    ),
    Bug(
        "silent-watch-is-trusted",
        "etcd 17529: events lost under stream starvation",
        "computegrid.clusters.reflector",
        "except TimeoutError:\n            raise Transient(",
        "except TimeoutError:\n            await asyncio.sleep(3600)\n            raise Transient(",
        ("clusters/test_reflector.py::test_a_silent_watch_is_found_within_75_seconds",),
    ),
    Bug(
        "resync-off",
        "Sieve, unobserved state: a dropped event is never made good",
        "computegrid.clusters.reflector",
        "if self._clock() < self._next_list:",
        "if self._version is not None:",
        (
            "clusters/test_reflector.py::test_a_dropped_event_is_repaired_within_a_resync_and_the_watch_is_hardly_disturbed",
        ),
    ),
    Bug(
        "stale-list-is-believed",
        "Sieve, stale state: time travel through a second API server; Kubernetes 59848",
        "computegrid.clusters.reflector",
        "if self._rewinds < REWINDS:",
        "if self._rewinds < 0:",
        (
            "clusters/test_reflector.py::test_a_stale_list_is_refused_and_a_restored_cluster_is_believed_in_the_end",
        ),
    ),
    Bug(
        "stale-list-raises-the-dead",
        "Sieve, stale state: deleted jobs run again",
        "computegrid.clusters.ledger",
        "known = self._graves.get(key, OPAQUE)",
        "known = OPAQUE",
        ("clusters/test_reflector.py::test_an_old_event_does_not_raise_the_dead",),
    ),
)

_MEMBERS = (
    Bug(
        "unreachable-counts-as-empty",
        "Karmada 5150: what a disconnected cluster ran is taken for gone",
        "computegrid.shell.members",
        "        if forget:\n            self._problems.pop(name, None)\n",
        "        forget = True\n        if forget:\n",
        (
            "shell/test_members.py::test_credentials_that_are_taken_away_are_used_no_longer_and_nothing_is_forgotten",
        ),
    ),
    Bug(
        "old-credentials-stay-in-use",
        "Kueue 13188: reconfiguring fails and the old client goes on",
        "computegrid.clusters.registry",
        "if member is not None and member.how == how:",
        "if member is not None:",
        ("clusters/test_registry.py::test_new_credentials_replace_the_old_even_if_they_are_useless",),
    ),
    Bug(
        "missing-rights-are-ignored",
        "multi-cluster peers: jobs go where their pods are forbidden",
        "computegrid.clusters.connection",
        "return reachable and self.synced and not self.missing",
        "return reachable and self.synced",
        ("clusters/test_registry.py::test_missing_rights_are_named_exactly_and_asked_for_again",),
    ),
    Bug(
        "one-cluster-counts-twice",
        "the same cluster registered under two names",
        "computegrid.clusters.identity",
        "if owner is not None and owner != name:",
        "if owner is not None and not owner:",
        (
            "clusters/test_registry.py::test_one_cluster_under_two_names_is_refused_and_may_follow_when_the_first_leaves",
        ),
    ),
    Bug(
        "another-cluster-behind-the-address",
        "Rancher CVE-2024-22030: whoever takes the address over is believed",
        "computegrid.clusters.identity",
        "if known is not None and known != uid:",
        "if known is not None and not known:",
        ("clusters/test_registry.py::test_another_cluster_behind_the_same_address_reaches_no_sink",),
    ),
    Bug(
        "kubeconfig-runs-programs",
        "Flux CVE-2022-24817, Hive CVE-2024-25133: exec and files in a kubeconfig",
        "computegrid.clusters.kubeconfig",
        'raise KubeconfigError(f"{path}.{key}", allowed)',
        "continue",
        ("clusters/test_kubeconfig.py::test_hostile_kubeconfigs_are_refused_by_the_name_of_the_field",),
    ),
    Bug(
        "prefix-of-a-name",
        "Kueue: names with a common prefix taken for the same",
        "computegrid.state.ledger",
        "if entry.observed and key[0] == cluster]",
        "if entry.observed and key[0].startswith(cluster)]",
        ("state/test_ledger.py::test_clusters_whose_names_begin_alike_are_told_apart",),
    ),
)

_LEADERS = (
    Bug(
        "leader-writes-after-its-deadline",
        "kopf: peering is no lock, 41 overlapping ticks in 41 s",
        "computegrid.clusters.lease",
        "return self._epoch if self.remaining > 0 else None",
        "return self._epoch",
        (
            "clusters/test_lease.py::test_a_process_that_was_paused_finds_itself_deposed_before_its_timers_run",
        ),
    ),
    Bug(
        "lease-by-the-wall-clock",
        "clocks that differ by minutes make two leaders",
        "computegrid.clusters.lease",
        "return self._clock() - self._observed.since > wait",
        'return (self._wall_clock() - __import__("datetime").datetime.fromisoformat('
        'spec_of(lease)["renewTime"]).timestamp()) > wait',
        ("clusters/test_lease.py::test_the_wall_clock_of_the_holder_means_nothing",),
    ),
    Bug(
        "epoch-does-not-grow",
        "fencing: an old leader's writes look like the new one's",
        "computegrid.clusters.lease",
        "        epoch = max(transitions_of(lease), self._least_epoch()) + 1\n        sent",
        "        epoch = max(transitions_of(lease), self._least_epoch(), 1)\n        sent",
        ("clusters/test_lease.py::test_a_release_lets_the_next_one_in_at_once",),
    ),
    Bug(
        "epoch-is-not-carried",
        "fencing: a member cannot tell an old leader's pods",
        "computegrid.render.gang",
        "labels.EPOCH: str(self.identity.epoch)}",
        'labels.EPOCH: "0"}',
        ("render/test_gang.py",),
    ),
    Bug(
        "lost-answer-deposes",
        "a renewal that was applied and whose answer was lost ends a sound leadership",
        "computegrid.clusters.lease",
        "            mine = holder_of(lease) == self.identity\n",
        "            mine = False\n",
        ("clusters/test_lease.py::test_a_renewal_whose_answer_is_lost_is_found_to_be_our_own",),
    ),
)

_WRITES = (
    Bug(
        "failed-write-is-forgotten",
        "kopf: a failed patch is never tried again",
        "computegrid.shell.jobs",
        "        else:\n            self._back_off(row, now)\n        self._grid.tables.dirty_jobs.add",
        "        else:\n            row.written = row.status\n        self._grid.tables.dirty_jobs.add",
        ("shell/test_jobs.py", "shell/test_crashes.py"),
    ),
    Bug(
        "pods-before-the-placement",
        "Sieve, intermediate state: a crash between two writes leaves pods that nobody knows",
        "computegrid.shell.writes",
        "        await self.put_status(row)\n        return await self.create(",
        "        await self.create(row, gang, tuple(gang.slots()) if slots is None else slots)\n"
        "        await self.put_status(row)\n        return await self.create(",
        ("shell/test_jobs.py::test_the_placement_is_written_before_the_first_pod",),
    ),
    Bug(
        "names-by-chance",
        "generateName: a lost answer makes a second pod",
        "computegrid.state.tables",
        'return f"{job}-{uid[:5]}-{pod_set}-{index}-{attempt}"',
        "return f\"{job}-{uid[:5]}-{pod_set}-{index}-{attempt}-{__import__('os').urandom(2).hex()}\"",
        ("render/test_gang.py::test_the_same_decision_gives_the_same_manifests",),
    ),
    Bug(
        "409-on-create-is-a-failure",
        "a create whose answer was lost fails its job",
        "computegrid.shell.writes",
        '        if error.reason != "AlreadyExists":\n            raise\n',
        "        raise\n",
        ("shell/test_jobs.py::test_a_pod_that_is_there_already_is_as_good_as_made",),
    ),
    Bug(
        "status-over-a-newer-version",
        "a status from a slow watch overwrites what somebody else wrote",
        "computegrid.shell.writes",
        '_reference(row) | {"resourceVersion": row.resource_version}',
        "_reference(row)",
        ("shell/test_jobs.py::test_a_status_is_put_on_a_newer_version_once_the_watch_brings_it",),
    ),
    Bug(
        "delete-by-name-alone",
        "Sieve, stale state: a newer object of the same name is deleted",
        "computegrid.shell.orphans",
        "namespace=namespace, uid=pod.uid, grace",
        "namespace=namespace, grace",
        ("shell/test_orphans.py::test_an_orphan_is_removed_by_its_uid",),
    ),
    Bug(
        "orphan-in-a-partition",
        "Kueue 11346: a job that is deleted while its cluster is away leaves its pods",
        "computegrid.shell.jobs",
        "        self._grid.tables.forget(row)\n        if done:\n",
        "        self._grid.tables.forget(row)\n        if done or not remove:\n",
        ("shell/test_jobs.py::test_a_job_waits_for_its_pods_in_a_member_that_is_away",),
    ),
    Bug(
        "refused-pods-keep-their-devices",
        "Kueue: failed workloads hold quota for ever; an assumption is not forgotten",
        "computegrid.shell.jobs",
        "        row.service_in = service_cluster(row)\n        self._grid.tables.forget(row)\n",
        "        row.service_in = service_cluster(row)\n",
        ("shell/test_jobs.py::test_a_refusal_gives_the_place_back_and_says_what_helps",),
    ),
)

_FAILURES = (
    Bug(
        "infrastructure-spends-the-budget",
        "retry budgets: 128 nodes for a week lose more than three",
        "computegrid.core.losses",
        "_USER_CAUSES = frozenset({Reason.USER_ERROR,",
        "_USER_CAUSES = frozenset({Reason.NODE_LOST, Reason.POD_EVICTED, Reason.USER_ERROR,",
        ("core/test_lifecycle.py", "shell/test_replacing.py"),
    ),
    Bug(
        "finished-job-runs-again",
        "Kueue 14734: the member deletes finished pods before they are seen",
        "computegrid.core.losses",
        "if key in facts.succeeded or key in facts.lost:",
        "if key in facts.lost:",
        ("core/test_lifecycle.py",),
    ),
    Bug(
        "ended-pods-keep-their-devices",
        "OpenShift CVE-2026-10533, Kueue: what has ended is counted on",
        "computegrid.state.ledger",
        "if row.terminal or not row.node:",
        "if not row.node:",
        ("state/test_ledger.py::test_a_pod_that_ended_is_unbound_or_gone_holds_nothing",),
    ),
    Bug(
        "one-spare-given-twice",
        "Kueue: a replacement on a node that another job claimed in the same cycle",
        "computegrid.core.yielding.recovery",
        "                self._parts.capacity.commit(pool, take)\n",
        "                pool.name\n",
        ("core/test_replacing.py::test_one_spare_is_given_once_and_to_the_higher_priority",),
    ),
    Bug(
        "failover-without-a-fence",
        "Karmada 3167: pods run in both clusters",
        "computegrid.shell.fences",
        "        if now >= due:\n",
        "        if due:\n",
        (
            "shell/test_lost_clusters.py::test_a_job_fails_over_once_the_guard_has_stopped_its_pods_and_not_before",
        ),
    ),
    Bug(
        "new-pods-on-bad-nodes",
        "nodes that fail again and again are used again and again",
        "computegrid.state.view",
        "= node.ready and not out, out",
        "= node.ready, out",
        ("state/test_health.py",),
    ),
    Bug(
        "one-bad-job-empties-a-pool",
        "every node that a bad job ran on is quarantined",
        "computegrid.state.suspicion",
        "part = burst.weights[node] / len(burst.weights)",
        "part = burst.weights[node]",
        ("state/test_health.py::test_nodes_of_one_job_that_fail_together_share_one_failure",),
    ),
    Bug(
        "two-attempts-at-once",
        "Karmada 3167, Kueue: a new attempt while pods of the last one run",
        "computegrid.core.lifecycle",
        "if missing and all(pod.ended for pod in stray if pod.attempt != facts.attempt):",
        "if missing:",
        ("shell/test_jobs.py::test_pods_of_an_earlier_attempt_go_before_new_ones_are_made",),
    ),
)

BUGS = {bug.name: bug for bug in (*_WATCHES, *_MEMBERS, *_LEADERS, *_WRITES, *_FAILURES)}
"""All bugs by name."""
