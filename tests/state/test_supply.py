"""Supply: selectors and tolerations by the rules of Kubernetes, prices and rates as integers."""

from __future__ import annotations

import pytest

from computegrid.api.selectors import LabelSelector
from computegrid.core.cluster import Link
from computegrid.core.selector import Selector
from computegrid.core.snapshot import DataSet, Results
from computegrid.state.job_spec import core_job
from computegrid.state.nodes import Taint
from computegrid.state.queue_rows import queue_spec
from computegrid.state.supply import accelerator_spec, cluster_spec, pool_spec, selector_of
from tests.state.objects import accelerator, aijob, member, pool, queue

LABELS = {"zone": "a", "empty": ""}


def expression(key: str, operator: str, *values: str) -> dict:
    return {
        "matchExpressions": [
            {"key": key, "operator": operator} | ({"values": list(values)} if values else {})
        ]
    }


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        pytest.param({}, True, id="an empty one chooses everything"),
        ({"matchLabels": {"zone": "a"}}, True),
        ({"matchLabels": {"zone": "b"}}, False),
        ({"matchLabels": {"zone": "a", "rack": "1"}}, False),
        ({"matchLabels": {"empty": ""}}, True),
        ({"matchLabels": {"rack": ""}}, False),
        (expression("zone", "In", "a", "b"), True),
        (expression("zone", "In", "b"), False),
        (expression("rack", "In", "a"), False),
        (expression("zone", "NotIn", "a"), False),
        (expression("zone", "NotIn", "b"), True),
        pytest.param(expression("rack", "NotIn", "a"), True, id="an absent label is not in anything"),
        (expression("empty", "Exists"), True),
        (expression("rack", "Exists"), False),
        (expression("rack", "DoesNotExist"), True),
        (expression("empty", "DoesNotExist"), False),
        pytest.param(
            {"matchLabels": {"zone": "a"}} | expression("rack", "Exists"), False, id="all must hold"
        ),
    ],
)
def test_selectors(selector, matches):
    assert selector_of(LabelSelector.model_validate(selector)).matches(LABELS) is matches


TAINT = Taint("gpu", "yes", "NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "tolerates"),
    [
        ({"key": "gpu"}, True),
        ({"key": "gpu", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "effect": "NoExecute"}, False),
        ({"key": "cpu"}, False),
        ({"key": "gpu", "operator": "Equal", "value": "yes"}, True),
        ({"key": "gpu", "operator": "Equal", "value": "no"}, False),
        ({"key": "gpu", "operator": "Equal"}, False),
    ],
)
def test_tolerations(toleration, tolerates):
    assert pool_spec(pool(tolerations=[toleration])).tolerates([TAINT]) is tolerates


def test_every_taint_must_be_tolerated():
    spec = pool_spec(pool(tolerations=[{"key": "gpu"}]))
    assert spec.tolerates([])
    assert not spec.tolerates([TAINT, Taint("maintenance", "", "NoExecute")])


def test_a_pool_in_full():
    spec = pool_spec(
        pool(
            access={"mode": "Dedicated", "queueNames": ["research"]},
            price={"perDeviceHour": "2.4000001", "perCPUHour": "0.03"},
            pue="1.25",
            spareNodes=1,
            runtimeClassName="nvidia",
            binding="Direct",
            topologyLevels=[{"name": "block", "label": "b"}, {"name": "rack", "label": "r"}],
        )
    )
    assert (spec.queues, spec.dedicated, spec.direct) == ({"research"}, True, True)
    assert (spec.price_micros_per_device_hour, spec.price_micros_per_cpu_hour) == (2_400_001, 30_000)
    assert (spec.pue_milli, spec.spare_nodes, spec.runtime_class) == (1250, 1, "nvidia")
    assert spec.levels == (("block", "b"), ("rack", "r"))


def test_a_plain_pool_is_for_every_queue_and_bound_by_the_scheduler():
    spec = pool_spec(pool())
    assert (spec.queues, spec.dedicated, spec.direct, spec.tolerations) == (None, False, False, ())


def test_an_accelerator_is_rounded_in_disfavour_of_the_device():
    spec = accelerator_spec(
        accelerator(
            computeUnits="3.1709",
            countPerPodAllowed=[8, 2],
            peakTeraflops=[
                {"precision": "fp16", "teraflops": "989.4567"},
                {"precision": "bf16", "teraflops": "1"},
            ],
        )
    )
    assert spec.core.gigaflops == (("bf16", 1000), ("fp16", 989_456))
    assert (spec.core.compute_units_milli, spec.core.allowed_counts) == (3170, (2, 8))


def test_a_member_and_its_links():
    link = {"clusterName": "east-1", "roundTripMilliseconds": 12, "egressPricePerGiB": "0.02"}
    spec = cluster_spec(
        member(kubeconfigSecretRef={"name": "west"}, links=[link], carbonIntensityGramsPerKWh=40)
    )
    assert (spec.local, spec.secret, spec.carbon_g_per_kwh) == (False, ("west", "kubeconfig"), 40)
    assert spec.links == (Link("east-1", None, 12, None, 20_000),)
    assert (cluster_spec(member()).local, cluster_spec(member()).secret) == (True, None)


def test_a_queue():
    spec = queue_spec(queue(parentName="all", weight=3, namespaces=["a"], stopPolicy="Hold"))
    assert (spec.parent, spec.weight, spec.namespaces, spec.stop_policy) == ("all", 3, {"a"}, "Hold")


@pytest.mark.parametrize("read", [pool_spec, accelerator_spec, cluster_spec])
def test_what_does_not_fit_the_model_is_an_error_of_value(read):
    with pytest.raises(ValueError, match="spec"):
        read({"metadata": {"name": "x"}})


def test_tariffs_are_a_day_in_steps_that_goes_over_midnight():
    tariffs = [
        {"startTime": "22:00", "endTime": "06:00", "percent": 60},
        {"startTime": "17:30", "endTime": "20:00", "percent": 150},
        {"startTime": "20:00", "endTime": "21:00", "percent": 0},
    ]
    series = pool_spec(pool(price={"perDeviceHour": "2", "tariffs": tariffs})).tariff
    assert series is not None
    hours = {0: 600, 5.99: 600, 6: 1_000, 17.5: 1_500, 20: 0, 21: 1_000, 22: 600, 24 * 365 + 17.6: 1_500}
    assert {hour: series.at(hour * 3_600) for hour in hours} == hours
    assert pool_spec(pool()).tariff is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("22:00", "06:00"), ("05:59", "07:00")),
        (("10:00", "12:00"), ("11:00", "11:30")),
        (("22:00", "06:00"), ("21:00", "23:00")),
    ],
)
def test_tariffs_that_overlap_are_refused(one, other):
    tariffs = [{"startTime": start, "endTime": end, "percent": 50} for start, end in (one, other)]
    with pytest.raises(ValueError, match="overlap"):
        pool_spec(pool(price={"tariffs": tariffs}))


def test_wishes_of_a_job_reach_the_core():
    raw = aijob(
        placement={
            "securityLevel": 2,
            "maxDelaySeconds": 60,
            "clusterSelector": {"matchLabels": {"tier": "gold"}},
            "data": [{"name": "d", "sizeGiB": 4, "locations": ["west-1"], "residentRegions": ["west"]}],
            "results": {"sizeGiB": 1, "location": "core-1"},
        },
        checkpoint={"path": "/ckpt", "periodSeconds": 600},
    )
    job = core_job(raw)
    assert (job.security_level, job.max_delay_seconds, job.checkpoint_seconds) == (2, 60, 600)
    assert job.cluster_selector == Selector((("tier", "gold"),))
    assert job.data == (DataSet("d", 4, ("west-1",), ("west",)),)
    assert job.results == Results(1, "core-1")
    plain = core_job(aijob(placement={"clusterSelector": {}}))
    assert (plain.cluster_selector, plain.security_level, plain.max_delay_seconds) == (None, 0, 0)


def test_a_cluster_says_how_well_it_is_protected():
    assert cluster_spec(member(securityLevel=4)).security_level == 4
