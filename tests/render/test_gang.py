"""From a placement to pods: their names, their nodes, their devices, and what a tenant cannot smuggle in."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.api import labels
from computegrid.core.decisions import Placement
from computegrid.render.gang import Gang, Identity, service_name
from computegrid.state.pods import pinned_node, pod_row
from computegrid.state.supply import pool_spec
from computegrid.state.tables import pod_name
from tests.state.objects import GPU, ORIGIN, Raw, aijob, container, placed, pod_set, pool

IDENTITY = Identity(uid="uid-job", attempt=2, epoch=7, origin=ORIGIN)
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def gang(
    raw: Raw | None = None,
    placement: Placement | None = None,
    *,
    identity: Identity = IDENTITY,
    **pool_says: object,
) -> Gang:
    return Gang(raw or aijob(), placement or placed(), identity, {"pool-1": pool_spec(pool(**pool_says))})  # type: ignore[arg-type]


def one(raw: Raw | None = None, placement: Placement | None = None, **pool_says: object) -> Raw:
    return gang(raw, placement, **pool_says).pod("worker", 0)


def with_template(**spec: object) -> Raw:
    spec.setdefault("containers", [container(cpu="1")])
    return aijob(sets=[pod_set(template={"spec": spec})])


def env_of(pod: Raw, position: int = 0, group: str = "containers") -> dict[str, str | None]:
    return {e["name"]: e.get("value") for e in pod["spec"][group][position]["env"]}


# -- names


def test_names_are_those_that_the_tables_expect():
    placement = placed(nodes=(("n1", 2), ("n2", 1)))
    made = gang(aijob(sets=[pod_set(replicas=3)]), placement)
    assert list(made.slots()) == [("worker", 0), ("worker", 1), ("worker", 2)]
    names = [made.pod(*slot)["metadata"]["name"] for slot in made.slots()]
    assert names == [pod_name("job", "uid-job", "worker", i, 2) for i in range(3)]
    assert [pinned_node(made.pod(*slot)["spec"]) for slot in made.slots()] == ["n1", "n1", "n2"]


def test_the_same_decision_gives_the_same_manifests():
    assert one() == one()


def test_the_longest_names_are_still_names():
    longest = "j" * 52
    raw = aijob(longest, framework="PyTorch", sets=[pod_set("s" * 20, replicas=2)])
    placement = placed(nodes=(("n1", 2),), name="s" * 20)
    made = gang(raw, placement, identity=replace(IDENTITY, uid="0123456789", attempt=1_000_000))
    pod, service = made.pod("s" * 20, 1), made.service()
    assert service is not None
    assert len(pod["metadata"]["name"]) <= 253
    assert DNS_LABEL.fullmatch(pod["spec"]["hostname"])
    assert DNS_LABEL.fullmatch(service["metadata"]["name"])
    assert all(len(value) <= 63 for value in pod["metadata"]["labels"].values())


@pytest.mark.parametrize("job", ["3d-unet", "0", "7" * 52, "plain"])
def test_the_name_of_a_service_starts_with_a_letter(job):
    assert DNS_LABEL.fullmatch(service_name(job, "0a1b2c3d"))


words = st.from_regex(r"[a-z][a-z0-9-]{0,6}[a-z0-9]", fullmatch=True)
slots = st.tuples(words, st.integers(0, 30), st.integers(0, 30))


@settings(max_examples=80)
@given(slots, slots)
def test_no_two_pods_of_a_job_share_a_name(one_slot, other):
    names = {pod_name("job", "uid-job", *slot) for slot in (one_slot, other)}
    assert len(names) == len({one_slot, other})


def test_a_job_made_again_under_the_same_name_has_names_of_its_own():
    first, second = "11111111-aaaa", "22222222-bbbb"
    assert pod_name("job", first, "worker", 0, 0) != pod_name("job", second, "worker", 0, 0)
    assert service_name("job", first) != service_name("job", second)


# -- where and on what


def test_a_pod_is_pinned_and_the_scheduler_binds_it():
    spec = one()["spec"]
    assert pinned_node(spec) == "n1"
    assert "nodeName" not in spec


def test_a_pool_may_bind_directly():
    spec = one(binding="Direct")["spec"]
    assert (spec["nodeName"], "affinity" in spec) == ("n1", False)


def test_devices_go_to_the_first_container_as_request_and_limit():
    raw = with_template(containers=[container(limits={"memory": "2Gi"}, cpu="1"), container("side")])
    main, side = one(raw)["spec"]["containers"]
    assert main["resources"] == {"requests": {"cpu": "1", GPU: "8"}, "limits": {"memory": "2Gi", GPU: "8"}}
    assert GPU not in str(side)


def test_containers_without_devices_see_none():
    raw = with_template(containers=[container(), container("side")], initContainers=[container("prepare")])
    pod = one(raw)
    assert "NVIDIA_VISIBLE_DEVICES" not in env_of(pod)
    assert env_of(pod, 1)["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert env_of(pod, 0, "initContainers")["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert env_of(one(placement=placed(devices=0)))["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_what_the_tables_count_for_a_pod_is_what_it_asks_for():
    row = pod_row("west-1", one())
    assert dict(row.requests) == {"cpu": 1000, "memory": 2**30, GPU: 8, "pods": 1}
    assert row.owned is not None
    assert (row.owned.job, row.owned.attempt, row.owned.origin, row.node) == ("uid-job", 2, ORIGIN, "n1")


def test_tolerations_and_runtime_class_come_from_the_pool():
    spec = one(tolerations=[{"key": GPU, "effect": "NoSchedule"}], runtimeClassName="nvidia")["spec"]
    assert spec["tolerations"] == [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["runtimeClassName"] == "nvidia"
    assert not {"tolerations", "runtimeClassName"} & one()["spec"].keys()


def test_a_pool_that_is_gone_still_lets_the_gang_be_rendered():
    spec = Gang(aijob(), placed(), IDENTITY, {}).pod("worker", 0)["spec"]
    assert pinned_node(spec) == "n1"


# -- overrides of the chosen alternative

CANN = {
    "name": "cann",
    "accelerators": ["ascend"],
    "overrides": {
        "image": "registry.example/train:cann",
        "command": ["msrun"],
        "env": [{"name": "BACKEND", "value": "hccl"}, {"name": "EXTRA", "value": "1"}],
    },
}


def two_sets(alternative: str | None) -> Gang:
    template = {
        "spec": {
            "containers": [
                container() | {"command": ["run"], "env": [{"name": "BACKEND", "value": "nccl"}]},
                container("side"),
            ]
        }
    }
    raw = aijob(
        sets=[pod_set("launcher", devices=0, template=template), pod_set(template=template)],
        alternatives=[CANN],
    )
    launcher = replace(placed().pod_sets[0], name="launcher", devices=0, device=None, accelerator=None)
    both = replace(placed(alternative=alternative), pod_sets=(launcher, placed().pod_sets[0]))
    return gang(raw, both)


def test_the_chosen_alternative_changes_the_first_container():
    made = two_sets("cann")
    for name, command in (("launcher", ["run"]), ("worker", ["msrun"])):
        main, side = made.pod(name, 0)["spec"]["containers"]
        assert (main["image"], main["command"]) == ("registry.example/train:cann", command)
        assert side["image"] == "registry.example/train:1"
        env = [(e["name"], e.get("value")) for e in main["env"] if e["name"] in {"BACKEND", "EXTRA"}]
        assert env == [("BACKEND", "hccl"), ("EXTRA", "1")]


@pytest.mark.parametrize("alternative", [None, "no-longer-there"])
def test_without_a_chosen_alternative_the_template_holds(alternative):
    main = two_sets(alternative).pod("worker", 0)["spec"]["containers"][0]
    assert (main["image"], main["command"]) == ("registry.example/train:1", ["run"])


# -- security


def test_pods_have_no_account_no_service_variables_and_a_seccomp_profile():
    spec = one(with_template(securityContext={"runAsUser": 1000}))["spec"]
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["securityContext"]["runAsUser"] == 1000
    assert spec["restartPolicy"] == "Never"


def test_labels_of_the_template_do_not_override_the_operators():
    forged = {labels.JOB_UID: "another", labels.ATTEMPT: "9", labels.APP_MANAGED_BY: "me", "team": "a"}
    template = {
        "metadata": {"labels": forged, "annotations": {labels.EPOCH: "99", "note": "mine"}},
        "spec": {"containers": [container()]},
    }
    metadata = one(aijob(sets=[pod_set(template=template)]))["metadata"]
    found = metadata["labels"]
    assert (found[labels.JOB_UID], found[labels.ATTEMPT], found["team"]) == ("uid-job", "2", "a")
    assert found[labels.APP_MANAGED_BY] == labels.FIELD_MANAGER
    assert metadata["annotations"] == {labels.EPOCH: "7", "note": "mine"}


def test_no_two_pods_share_anything_that_could_be_changed_under_the_other():
    made = gang(aijob(sets=[pod_set(replicas=2)]), placed(nodes=(("n1", 2),)))
    first, second = made.pod("worker", 0), made.pod("worker", 1)
    first["metadata"]["labels"]["x"] = "y"
    first["spec"]["containers"][0]["env"].append({"name": "X"})
    assert "x" not in second["metadata"]["labels"]
    assert "X" not in env_of(second)


HOSTILE: dict[str, Raw] = {
    "nodeName": {"nodeName": "control-plane"},
    "nodeSelector": {"nodeSelector": {"a": "b"}},
    "hostNetwork": {"hostNetwork": True},
    "hostPID": {"hostPID": True},
    "hostIPC": {"hostIPC": True},
    "hostUsers": {"hostUsers": True},
    "serviceAccountName": {"serviceAccountName": "admin"},
    "automountServiceAccountToken": {"automountServiceAccountToken": True},
    "schedulerName": {"schedulerName": "mine"},
    "priorityClassName": {"priorityClassName": "system-node-critical"},
    "tolerations": {"tolerations": [{"operator": "Exists"}]},
    "affinity": {"affinity": {"nodeAffinity": {}}},
    "runtimeClassName": {"runtimeClassName": "runc-of-mine"},
    "hostAliases": {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["registry.example"]}]},
    "ephemeralContainers": {"ephemeralContainers": [container("debug")]},
    "resourceClaims": {"resourceClaims": [{"name": "all"}]},
    "hostPath": {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]},
    "csi": {"volumes": [{"name": "root", "csi": {"driver": "x"}}]},
    "serviceAccountToken": {
        "volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {}}]}}]
    },
    "privileged": {"containers": [container() | {"securityContext": {"privileged": True}}]},
    "SYS_ADMIN": {
        "containers": [container() | {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]
    },
    "Unconfined": {
        "containers": [container() | {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}]
    },
    "procMount": {"containers": [container() | {"securityContext": {"procMount": "Unmasked"}}]},
    "hostPort": {"containers": [container() | {"ports": [{"containerPort": 80, "hostPort": 80}]}]},
    "volumeDevices": {
        "containers": [container() | {"volumeDevices": [{"name": "d", "devicePath": "/dev/sda"}]}]
    },
    "mountPropagation": {
        "containers": [
            container()
            | {"volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]}
        ]
    },
}
SET_BY_THE_OPERATOR = {"automountServiceAccountToken", "affinity"}


@pytest.mark.parametrize("field", HOSTILE)
def test_what_a_tenant_may_not_say_does_not_come_out(field):
    pod = one(with_template(**HOSTILE[field]))
    if field in SET_BY_THE_OPERATOR:
        assert pod["spec"][field] == one()["spec"][field]
    else:
        assert f"'{field}'" not in str(pod)


# -- shared devices, elastic sets, bound queues


SLOT = "nvidia.com/gpu.shared"
SHARING = {"slotsPerDevice": 8, "resourceName": SLOT}


def share(*, slots: int = 0, devices: int = 0, indices: tuple[tuple[int, ...], ...] = ()) -> Placement:
    nodes = (("n1", 2), ("n2", 1))
    made = placed(nodes=nodes, devices=devices)
    part = replace(
        made.pod_sets[0], accelerator="nvidia-h100", device=SLOT, slots=slots, device_indices=indices
    )
    return replace(made, pod_sets=(part,))


def test_a_share_is_slots_of_the_device_that_was_chosen():
    raw = aijob(sets=[pod_set(replicas=3, devices=0, acceleratorShare="0.25")])
    made = gang(raw, share(slots=2, indices=((3, 0), (1,))), sharing=SHARING)
    pods = [made.pod("worker", index) for index in range(3)]
    assert [pod["metadata"]["annotations"][labels.DEVICES] for pod in pods] == ["3", "0", "1"]
    main = pods[0]["spec"]["containers"][0]
    assert main["resources"]["requests"][SLOT] == main["resources"]["limits"][SLOT] == "2"
    assert env_of(pods[0])["COMPUTEGRID_DEVICE_SHARE"] == "0.25"
    assert "NVIDIA_VISIBLE_DEVICES" not in env_of(pods[0])
    assert pod_row("west-1", pods[0]).devices == (3,)


def test_whole_devices_where_they_are_shared_are_all_of_their_slots():
    raw = aijob(sets=[pod_set(replicas=3, devices=2)])
    made = gang(raw, share(devices=2, indices=((0, 1, 2, 3), (4, 5))), sharing=SHARING)
    pods = [made.pod("worker", index) for index in range(3)]
    assert [pod["metadata"]["annotations"][labels.DEVICES] for pod in pods] == ["0,1", "2,3", "4,5"]
    assert pods[0]["spec"]["containers"][0]["resources"]["limits"][SLOT] == "16"
    assert env_of(pods[0])["COMPUTEGRID_DEVICE_SHARE"] == "1"


def test_pods_with_whole_devices_of_their_own_say_nothing_of_their_numbers():
    pod = one()
    assert labels.DEVICES not in pod["metadata"]["annotations"]
    assert env_of(pod)["COMPUTEGRID_DEVICE_SHARE"] == "1"
    without = gang(aijob(sets=[pod_set(devices=0)]), placed(devices=0)).pod("worker", 0)
    assert "COMPUTEGRID_DEVICE_SHARE" not in env_of(without)


def test_what_an_alternative_changes_holds_for_a_share_too():
    raw = aijob(
        sets=[pod_set(devices=0, acceleratorShare="0.5")],
        alternatives=[{"name": "a", "accelerators": ["x"], "overrides": {"command": ["other"]}}],
    )
    made = gang(raw, replace(share(slots=4, indices=((0, 1), (2,))), alternative="a"), sharing=SHARING)
    assert made.pod("worker", 0)["spec"]["containers"][0]["command"] == ["other"]


def test_pods_that_stay_keep_what_they_are_when_a_gang_grows():
    raw = aijob(sets=[pod_set(replicas=4, minReplicas=2)])
    before = gang(raw, placed(nodes=(("n1", 2),)))
    after = gang(raw, placed(nodes=(("n1", 2), ("n2", 1))))
    for index in range(2):
        old, new = before.pod("worker", index), after.pod("worker", index)
        assert old["metadata"] == new["metadata"]
        assert pinned_node(old["spec"]) == pinned_node(new["spec"])
    grown = env_of(after.pod("worker", 2))
    assert (grown["COMPUTEGRID_RANK"], grown["COMPUTEGRID_WORLD_SIZE"]) == ("2", "3")
    bounds = (grown["COMPUTEGRID_MIN_POD_SET_SIZE"], grown["COMPUTEGRID_MAX_POD_SET_SIZE"])
    assert bounds == ("2", "4")


def test_a_set_of_fixed_size_has_no_bounds():
    sizes = {name for name in env_of(one()) if name.endswith("POD_SET_SIZE")}
    assert sizes == {"COMPUTEGRID_POD_SET_SIZE"}


def test_pods_carry_the_queue_that_their_namespace_is_bound_to():
    pod = gang(aijob(queueName="default"), identity=replace(IDENTITY, queue="bound")).pod("worker", 0)
    assert pod["metadata"]["labels"][labels.QUEUE] == env_of(pod)["COMPUTEGRID_QUEUE"] == "bound"
    assert one()["metadata"]["labels"][labels.QUEUE] == "research"
