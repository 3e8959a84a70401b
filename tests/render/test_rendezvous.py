"""How the pods of a distributed job find each other, framework by framework."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from computegrid.api import labels
from computegrid.render.gang import Gang, Identity
from computegrid.render.rendezvous import HOSTFILE_ANNOTATION, HOSTFILE_PATH
from tests.state.objects import ORIGIN, Raw, aijob, container, placed, pod_set

FIRST = "chief-0.job-uid-j.research.svc"


def gang(framework: str, *, sets: int = 2, attempt: int = 0, **spec: object) -> Gang:
    """Return a chief without devices and three workers with four each; with `sets=1` the workers alone."""
    declared = [pod_set("chief", devices=0), pod_set(replicas=3, devices=4)]
    chief = replace(placed().pod_sets[0], name="chief", devices=0, device=None)
    workers = replace(placed().pod_sets[0], replicas=3, devices=4, nodes=(("n1", 2), ("n2", 1)))
    placement = replace(placed(), pod_sets=(chief, workers)[-sets:])
    raw = aijob(sets=declared[-sets:], framework=framework, **spec)
    return Gang(raw, placement, Identity("uid-job", attempt, 1, ORIGIN), {})


def env(pod: Raw, position: int = 0) -> dict[str, str]:
    return {e["name"]: e.get("value") for e in pod["spec"]["containers"][position]["env"]}


@pytest.mark.parametrize("framework", ["None", "PyTorch", "MPI", "TensorFlow", "JAX"])
def test_every_pod_knows_its_rank_and_its_world(framework):
    made = gang(framework)
    found = [env(made.pod(*slot)) for slot in made.slots()]
    assert [e["COMPUTEGRID_RANK"] for e in found] == ["0", "1", "2", "3"]
    assert {e["COMPUTEGRID_WORLD_SIZE"] for e in found} == {"4"}
    assert [(e["COMPUTEGRID_POD_SET"], e["COMPUTEGRID_POD_INDEX"]) for e in found][-1] == ("worker", "2")
    assert [e["COMPUTEGRID_POD_SET_SIZE"] for e in found] == ["1", "3", "3", "3"]
    ranks = [made.pod(*slot)["metadata"]["labels"][labels.RANK] for slot in made.slots()]
    assert ranks == ["0", "1", "2", "3"]


def test_a_job_without_framework_has_neither_service_nor_host_names():
    made = gang("None")
    spec = made.pod("worker", 0)["spec"]
    assert made.service() is None
    assert not {"hostname", "subdomain"} & spec.keys()
    assert "COMPUTEGRID_COORDINATOR_ADDRESS" not in env(made.pod("worker", 0))


def test_a_framework_gets_host_names_that_stay_the_same_in_every_attempt():
    for attempt in (0, 5):
        made = gang("JAX", attempt=attempt)
        service, spec = made.service(), made.pod("worker", 2)["spec"]
        assert service is not None
        assert (spec["hostname"], spec["subdomain"]) == ("worker-2", service["metadata"]["name"])
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"] is True
        assert service["spec"]["selector"] == {labels.JOB_UID: "uid-job"}
        assert env(made.pod("worker", 0))["COMPUTEGRID_COORDINATOR_ADDRESS"] == FIRST


def test_pytorch():
    found = env(gang("PyTorch").pod("worker", 1))
    assert {k: v for k, v in found.items() if not k.startswith("COMPUTEGRID_")} == {
        "MASTER_ADDR": FIRST,
        "MASTER_PORT": "29500",
        "WORLD_SIZE": "4",
        "RANK": "2",
        "PET_MASTER_ADDR": FIRST,
        "PET_MASTER_PORT": "29500",
        "PET_NNODES": "4",
        "PET_NODE_RANK": "2",
        "PET_NPROC_PER_NODE": "4",
    }
    assert env(gang("PyTorch").pod("chief", 0))["PET_NPROC_PER_NODE"] == "1"


def test_tensorflow():
    config = json.loads(env(gang("TensorFlow").pod("worker", 1))["TF_CONFIG"])
    workers = [f"worker-{i}.job-uid-j.research.svc:2222" for i in range(3)]
    assert config == {
        "cluster": {"chief": [f"{FIRST}:2222"], "worker": workers},
        "task": {"type": "worker", "index": 1},
    }


def test_jax():
    found = env(gang("JAX").pod("worker", 0))
    assert (found["JAX_COORDINATOR_ADDRESS"], found["JAX_NUM_PROCESSES"], found["JAX_PROCESS_ID"]) == (
        f"{FIRST}:1234",
        "4",
        "1",
    )


def test_mpi_gives_its_launcher_a_hostfile_of_the_workers():
    made = gang("MPI")
    launcher, worker = made.pod("chief", 0), made.pod("worker", 0)
    lines = launcher["metadata"]["annotations"][HOSTFILE_ANNOTATION].splitlines()
    assert lines == [f"worker-{i}.job-uid-j.research.svc slots=4" for i in range(3)]
    (mount,) = launcher["spec"]["containers"][0]["volumeMounts"]
    (volume,) = launcher["spec"]["volumes"]
    (item,) = volume["downwardAPI"]["items"]
    assert f"{mount['mountPath']}/{item['path']}" == HOSTFILE_PATH
    assert item["fieldRef"]["fieldPath"] == f"metadata.annotations['{HOSTFILE_ANNOTATION}']"
    assert env(launcher)["OMPI_MCA_orte_default_hostfile"] == HOSTFILE_PATH
    assert HOSTFILE_ANNOTATION not in worker["metadata"]["annotations"]
    assert not worker["spec"].get("volumes")


def test_mpi_without_a_launcher_of_its_own_lists_all():
    hostfile = gang("MPI", sets=1).pod("worker", 0)["metadata"]["annotations"][HOSTFILE_ANNOTATION]
    assert len(hostfile.splitlines()) == 3


def test_the_users_own_variables_win_and_may_refer_to_the_operators():
    own = [{"name": "MASTER_PORT", "value": "1"}, {"name": "ARGS", "value": "$(COMPUTEGRID_RANK)"}]
    template = {"spec": {"containers": [container() | {"env": own}]}}
    raw = aijob(framework="PyTorch", sets=[pod_set(template=template)])
    pod = Gang(raw, placed(), Identity("uid-job", 0, 1, ORIGIN), {}).pod("worker", 0)
    names = [e["name"] for e in pod["spec"]["containers"][0]["env"]]
    assert env(pod)["MASTER_PORT"] == "1"
    assert names.count("MASTER_PORT") == 1
    assert names.index("COMPUTEGRID_RANK") < names.index("ARGS")


@pytest.mark.parametrize(("attempt", "resume"), [(0, "false"), (1, "true")])
def test_a_later_attempt_is_told_to_go_on_from_its_checkpoint(attempt, resume):
    made = gang("None", attempt=attempt, checkpoint={"path": "/ckpt"})
    found = env(made.pod("worker", 0))
    assert (found["COMPUTEGRID_RESUME"], found["COMPUTEGRID_ATTEMPT"]) == (resume, str(attempt))
    assert found["COMPUTEGRID_CHECKPOINT_PATH"] == "/ckpt"
    assert (
        found["COMPUTEGRID_CLUSTER"],
        found["COMPUTEGRID_POOL"],
        found["COMPUTEGRID_DEVICES_PER_POD"],
    ) == (
        "west-1",
        "pool-1",
        "4",
    )
