"""`kubectl grid join` and `kubectl grid leave`: a cluster becomes a member, and stops being one."""

from __future__ import annotations

import argparse
import base64
import json
import re
from typing import Any

from computegrid.cli.kubectl import Document, Kubectl, KubectlError, text_of
from computegrid.cli.member_manifests import (
    ACCOUNT,
    NAMESPACE,
    TOKEN_SECRET,
    hub_documents,
    kubeconfig,
    manifest,
    member_documents,
    undone,
)

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DURATION = re.compile(r"[1-9][0-9]{0,5}[hms]")
_TAKEN = ("server", "certificate-authority-data", "tls-server-name")
_TOKEN_SECONDS = 30
_SHOWN_JOBS = 5


class FlagError(Exception):
    """A flag, or an argument, that has to be mended; the message begins with its name."""


def add_commands(commands: Any) -> None:
    """Add `join` and `leave` to the commands of `kubectl grid`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("name", help="name of the MemberCluster")
    common.add_argument("--member-context", help="context of an admin of the member")
    common.add_argument("--member-kubeconfig", help="kubeconfig of an admin of the member")
    common.add_argument("--hub-context", help="context of the hub; the current one otherwise")
    common.add_argument("--hub-kubeconfig", help="kubeconfig of the hub")
    common.add_argument(
        "--system-namespace", default=NAMESPACE, help="namespace of the operator (%(default)s)"
    )
    join = commands.add_parser(
        "join", parents=[common], help="make a cluster a member; again: renew its token"
    )
    join.add_argument("--region", help="region of the cluster; needed the first time")
    join.add_argument("--server", help="address of the API server as the hub reaches it, https://...")
    join.add_argument("--namespaces", default="", help="write pods in these namespaces alone: a,b")
    how = join.add_mutually_exclusive_group()
    how.add_argument("--token-duration", default="720h", help="life of the token (%(default)s)")
    how.add_argument("--long-lived", action="store_true", help="a token that does not end")
    join.add_argument("--no-guard", action="store_true", help="leave the guard away: Failover jobs wait")
    join.add_argument(
        "--dry-run", action="store_true", help="print what would be applied, and change nothing"
    )
    join.add_argument("--wait-seconds", type=int, default=60, help="for Ready; 0 does not wait (%(default)s)")
    leave = commands.add_parser("leave", parents=[common], help="take a member out of the grid")
    leave.add_argument("--force", action="store_true", help="although jobs are placed there")


def run(chosen: argparse.Namespace) -> int:
    """Join or leave.

    Raises:
        FlagError: the caller has to mend a flag.
        KubectlError: kubectl failed.
    """
    if not _NAME.fullmatch(chosen.name):
        raise FlagError(f"NAME: {chosen.name!r} is no name of a cluster: lower-case letters, digits and '-'")
    return _leave(chosen) if chosen.command == "leave" else _join(chosen)


# -- join


def _join(chosen: argparse.Namespace) -> int:
    namespaces = _checked(chosen)
    member, hub = _member(chosen), _hub(chosen)
    if member is None:
        raise FlagError("--member-context: say how an admin reaches the member, or give --member-kubeconfig")
    there = member_documents(namespaces, guard=not chosen.no_guard)
    if chosen.long_lived:
        there += manifest("token")
    cluster = _cluster(member, chosen.server)
    region = chosen.region or _region(hub, chosen.name)
    if chosen.dry_run:
        here = hub_documents(
            chosen.name, chosen.system_namespace, kubeconfig(chosen.name, cluster, "TOKEN"), region
        )
        print(f"# in the member\n{text_of(there)}\n# on the hub\n{text_of(here)}", end="")
        return 0
    _refuse_the_hub(member, hub)
    member.apply(there)
    _say(f"{chosen.name}: account {ACCOUNT} in namespace {NAMESPACE}, its rights and the policy of epochs")
    if not chosen.no_guard:
        _say(f"{chosen.name}: guard")
    token = _long_token(member) if chosen.long_lived else _token(member, chosen.token_duration)
    config = kubeconfig(chosen.name, cluster, token)
    secret, described = hub_documents(chosen.name, chosen.system_namespace, config, region)
    hub.apply([secret])
    hub.set_spec(described)
    life = "does not end" if chosen.long_lived else f"ends after {chosen.token_duration}"
    _say(f"hub: Secret {chosen.name}-kubeconfig in namespace {chosen.system_namespace}; its token {life}")
    _say(f"hub: MemberCluster {chosen.name} in region {region}")
    if chosen.wait_seconds:
        _wait_ready(hub, chosen.name, chosen.wait_seconds)
    return 0


def _checked(chosen: argparse.Namespace) -> list[str]:
    """Return the namespaces; raise for what no cluster has to be asked about."""
    if not _DURATION.fullmatch(chosen.token_duration):
        raise FlagError(f"--token-duration: {chosen.token_duration!r} is no time such as 720h or 90m")
    if chosen.server and not chosen.server.startswith("https://"):
        raise FlagError(f"--server: {chosen.server!r} must begin with https://")
    if chosen.wait_seconds < 0:
        raise FlagError("--wait-seconds: must not be negative")
    namespaces = [each.strip() for each in chosen.namespaces.split(",") if each.strip()]
    for each in namespaces:
        if not _NAME.fullmatch(each):
            raise FlagError(f"--namespaces: {each!r} is no name of a namespace")
    return namespaces


def _cluster(member: Kubectl, server: str | None) -> Document:
    """Return how the member is reached: of the admin's kubeconfig the address and its authority alone."""
    text = member.run("config", "view", "--minify", "--flatten", "--raw", "--output=json")
    entries = _loaded(text).get("clusters") or []
    entry = (entries[0].get("cluster") if entries else None) or {}
    if entry.get("proxy-url"):
        raise FlagError("--member-context: it uses a proxy, and the hub does not; give a kubeconfig without")
    if entry.get("insecure-skip-tls-verify"):
        raise FlagError("--member-context: it skips the check of certificates; give a kubeconfig with a CA")
    kept = {key: entry[key] for key in _TAKEN if entry.get(key)}
    if server:
        kept["server"] = server
    if not str(kept.get("server", "")).startswith("https://"):
        raise FlagError("--member-context: its server has no https:// address; give --server")
    return kept


def _region(hub: Kubectl, name: str) -> str:
    """Return the region that the MemberCluster has already."""
    found = hub.get("membercluster", name)
    region = ((found or {}).get("spec") or {}).get("region")
    if not region:
        raise FlagError(f"--region: there is no MemberCluster {name} yet; say its region")
    return str(region)


def _refuse_the_hub(member: Kubectl, hub: Kubectl) -> None:
    uids = [_uid(each) for each in (member, hub)]
    if uids[0] == uids[1]:
        raise FlagError("--member-context: that is the hub itself; make a MemberCluster with `local: true`")


def _uid(cluster: Kubectl) -> str:
    return str(((cluster.get("namespace", "kube-system") or {}).get("metadata") or {}).get("uid"))


def _token(member: Kubectl, duration: str) -> str:
    return member.run(
        "create", "token", ACCOUNT, f"--namespace={NAMESPACE}", f"--duration={duration}"
    ).strip()


def _long_token(member: Kubectl) -> str:
    """Return the token that the member's control plane puts into a Secret, once it is there."""
    where = f"--namespace={NAMESPACE}"
    seconds = f"--timeout={_TOKEN_SECONDS}s"
    member.run("wait", f"secret/{TOKEN_SECRET}", where, "--for=jsonpath={.data.token}", seconds)
    secret = member.get("secret", TOKEN_SECRET, where) or {}
    return base64.b64decode(secret["data"]["token"]).decode()


def _wait_ready(hub: Kubectl, name: str, seconds: int) -> None:
    try:
        hub.run(
            "wait", f"membercluster/{name}", "--for=condition=Ready", f"--timeout={seconds}s",
            seconds=seconds + 10.0,
        )  # fmt: skip
    except KubectlError as error:
        found = hub.get("membercluster", name) or {}
        said = [
            f"{each['type']}={each['status']} {each.get('reason', '')}: {each.get('message', '')}"
            for each in (found.get("status") or {}).get("conditions") or []
        ]
        raise KubectlError("\n".join([str(error), *said])) from None
    _say(f"hub: MemberCluster {name} is Ready")


# -- leave


def _leave(chosen: argparse.Namespace) -> int:
    member, hub = _member(chosen), _hub(chosen)
    jobs = _jobs_at(hub, chosen.name)
    if jobs and not chosen.force:
        more = f" and {len(jobs) - _SHOWN_JOBS} more" if len(jobs) > _SHOWN_JOBS else ""
        raise KubectlError(
            f"{len(jobs)} jobs are placed in {chosen.name}: {', '.join(jobs[:_SHOWN_JOBS])}{more};"
            f" set spec.unschedulable and wait until they end, or give --force"
        )
    hub.run("delete", "--ignore-not-found", "membercluster", chosen.name)
    hub.run(
        "delete", "--ignore-not-found", f"--namespace={chosen.system_namespace}",
        "secret", f"{chosen.name}-kubeconfig",
    )  # fmt: skip
    _say(f"hub: MemberCluster {chosen.name} and its Secret are gone")
    if member is None:
        _say(f"{chosen.name}: its account stays; give --member-context or --member-kubeconfig to remove it")
        return 0
    label = "--selector=app.kubernetes.io/part-of=computegrid"
    member.run(
        "delete", "rolebindings", "--all-namespaces", label, f"--field-selector=metadata.name={ACCOUNT}-jobs"
    )
    member.delete(undone())
    _say(f"{chosen.name}: account, rights, policy and guard are gone; namespace {NAMESPACE} stays")
    return 0


def _jobs_at(hub: Kubectl, name: str) -> list[str]:
    """Return the jobs that have a placement in a member and have not finished."""
    found = []
    for job in (hub.get("aijobs", "--all-namespaces") or {}).get("items") or []:
        status = job.get("status") or {}
        finished = any(
            each["type"] == "Finished" and each["status"] == "True" for each in status.get("conditions") or ()
        )
        if (status.get("placement") or {}).get("clusterName") == name and not finished:
            found.append(f"{job['metadata']['namespace']}/{job['metadata']['name']}")
    return sorted(found)


# -- both


def _member(chosen: argparse.Namespace) -> Kubectl | None:
    options = _options(chosen.member_context, chosen.member_kubeconfig)
    return Kubectl(options) if options else None


def _hub(chosen: argparse.Namespace) -> Kubectl:
    return Kubectl(_options(chosen.hub_context, chosen.hub_kubeconfig))


def _options(context: str | None, config: str | None) -> tuple[str, ...]:
    return tuple(f"--{key}={value}" for key, value in (("context", context), ("kubeconfig", config)) if value)


def _loaded(text: str) -> Document:
    return dict(json.loads(text))


def _say(text: str) -> None:
    print(text, flush=True)
