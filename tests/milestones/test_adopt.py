"""What runs is put into the cluster file: whatever a person had changed since, the file then starts the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.case_runner import CLUSTER
from wizard_steps.cluster.edit import with_values
from wizard_steps.cluster.file import Cluster, dump, parse
from wizard_steps.engine.step import Known
from wizard_steps.milestones import adopt, head, over_ray, ranks, workers
from wizard_steps.node import docker
from wizard_steps.node.places import place_of
from wizard_steps.node.spec import Spec, differences

IDS = {"a": "1" * 64, "b": "1" * 64}


def facts(cluster: Cluster, **more: object) -> dict[str, object]:
    """What the gates teach of a cluster; the image's id is another one for another name."""
    image = docker.image_of(cluster)
    ids = {name: f"{len(image):02d}" * 32 for name in IDS}
    own = {"image": image, "image_ids": ids, "executor": "mp" if cluster.without_ray else "ray"}
    return {**(own if cluster.path == "docker" else {}), **more}


def cluster_of(text: str, top: str = "", nodes: Sequence[str] = ("", "")) -> Cluster:
    """The cases' file with more in it: at the top, in each node's table, at the end."""
    first, *rest = CLUSTER.split("[[nodes]]")
    rest[-1], _, serve = rest[-1].partition("[serve]")
    made = "".join(f"[[nodes]]{table}{more}\n" for table, more in zip(rest, nodes, strict=True))
    return parse(f"{top}\n{first}{made}[serve]{serve}{text}")


SERVICES: dict[str, adopt.Services] = {
    "head": head.services,
    "workers": workers.services,
    "serve": over_ray.services,
    "ranks": ranks.ranks,
}
DOCKER = 'path = "docker"'


def specs(cluster: Cluster, services: adopt.Services, **more: object) -> dict[str, Spec]:
    known = Known(cluster, facts(cluster, **more))
    return {s.node.name: place_of(cluster, known.facts).spec(s) for s in services(known)}


def adopted(then: Cluster, now: Cluster, what: str, **more: object) -> tuple[adopt.Offer, Cluster]:
    """The offer, and the file after it: read again from its text, as a walk would."""
    services = SERVICES[what]
    runs = specs(then, services, **more)
    offer = adopt.offer(Known(now, facts(now, **more)), services, runs)
    changed = parse(dump(with_values(now, offer.edits), dump(now)))
    return offer, changed


def same(then: Cluster, now: Cluster, what: str) -> bool:
    services = SERVICES[what]
    new = specs(now, services)
    return all(not differences(old, new[name]) for name, old in specs(then, services).items())


NODES = {
    "env of one node": (("[nodes.env]\nNCCL_DEBUG = 'INFO'", ""), "head", "env.NCCL_DEBUG = INFO"),
    "interface of one node": (
        ("", "[nodes.env]\nNCCL_SOCKET_IFNAME = 'eth7'"),
        "workers",
        "nodes[1].env.NCCL_SOCKET_IFNAME = eth7",
    ),
    "flags of one node": (("", "ray_flags = ['--num-cpus=4']"), "workers", "ray.worker_flags = --num-cpus=4"),
}


@pytest.mark.parametrize("name", NODES)
def test_values_of_a_node(name: str) -> None:
    nodes, what, wanted = NODES[name]
    offer, changed = adopted(cluster_of("", nodes=nodes), cluster_of(""), what)
    assert wanted in [f"{field} = {value}" for field, value in offer.edits]
    assert same(cluster_of("", nodes=nodes), changed, what)


DOCKERS = {
    "another image": '[docker]\nimage = "registry.local/vllm:7"',
    "more shared memory": '[docker]\nshm_size = "64g"',
    "the host's shared memory": '[docker]\nipc = "host"',
    "a restart policy": '[docker]\nrestart = "unless-stopped"',
    "other limits": '[docker]\nulimits = ["memlock=-1", "nofile=65536"]',
    "another cache": '[docker]\nhf_home = "/data/hf"\ncompile_cache = ""\nlog_home = "/var/log/milepost"',
    "other GPUs": '[docker]\ngpu_flags = ["--gpus", "device=0"]',
    "flags of its own": '[docker]\nextra_flags = ["--privileged", "-e", "A=1"]',
    "Ray's port inside": "[ray]\nport = 6400",
    "an older vLLM": 'vllm_version = "0.17.1"',
    "no Ray": 'executor = "mp"',
}


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("name", DOCKERS)
def test_a_container(name: str, back: bool) -> None:
    then, now = cluster_of(DOCKERS[name], DOCKER), cluster_of("", DOCKER)
    then, now = (now, then) if back else (then, now)
    offer, changed = adopted(then, now, "head")
    assert offer.edits, offer.left
    assert same(then, changed, "head")


def test_folders_of_its_own_stay_beside_another_image() -> None:
    own = 'extra_flags = ["-v", "/opt/a:/opt/a:ro", "-v", "/opt/b:/opt/b:ro", "-v", "/opt/c:/opt/c"]'
    then = cluster_of(f'[docker]\nimage = "registry.local/vllm:7"\n{own}', DOCKER)
    now = cluster_of(f"[docker]\n{own}", DOCKER)
    offer, changed = adopted(then, now, "head")
    assert offer.edits == (("docker.image", "registry.local/vllm:7"),), offer.left
    assert same(then, changed, "head")


def test_flags_of_one_container() -> None:
    then = cluster_of("", DOCKER, ("", "docker_flags = ['--cpus=4']"))
    offer, changed = adopted(then, cluster_of("", DOCKER), "workers", starts={"a": "one"})
    assert offer.edits == (("nodes[1].docker_flags", "--cpus=4"),)
    assert same(then, changed, "workers")
    assert same(cluster_of("", DOCKER), changed, "head")


@pytest.mark.parametrize("top", ["", DOCKER])
@pytest.mark.parametrize("back", [False, True])
def test_the_executor(top: str, back: bool) -> None:
    then, now = cluster_of('executor = "mp"', top), cluster_of("", top)
    then, now = (now, then) if back else (then, now)
    what = "ranks" if now.without_ray else "serve"
    runs = specs(then, SERVICES["ranks" if then.without_ray else "serve"])
    seen = {name: spec for name, spec in runs.items() if name == "a"} if not now.without_ray else runs
    offer = adopt.offer(Known(now, facts(now)), SERVICES[what], seen)
    assert ("serve.executor", then.serve.executor) in offer.edits, offer
    changed = with_values(now, offer.edits)
    again = specs(changed, SERVICES["ranks" if then.without_ray else "serve"])
    assert all(not differences(spec, again[name]) for name, spec in runs.items())


def test_a_flag_that_milepost_gives_as_well_is_no_hindrance() -> None:
    then = cluster_of("[ray]\nhead_flags = ['--num-cpus=4', '--disable-usage-stats']")
    now = cluster_of("[ray]\nhead_flags = ['--num-cpus=3', '--disable-usage-stats']")
    offer, changed = adopted(then, now, "head")
    assert offer.edits == (("ray.head_flags", "--num-cpus=4 --disable-usage-stats"),)
    assert same(then, changed, "head")


def test_a_variable_of_all_stays_with_the_nodes_that_have_it() -> None:
    """The workers lack what the head, whose gate has passed, was started with."""
    now = cluster_of("[env]\nNCCL_DEBUG = 'INFO'")
    offer, changed = adopted(cluster_of(""), now, "workers", starts={"a": "one"})
    assert dict(offer.edits) == {"env.NCCL_DEBUG": "", "nodes[0].env.NCCL_DEBUG": "INFO"}
    assert same(now, changed, "head")
    assert same(cluster_of(""), changed, "workers")


def test_an_image_whose_name_means_another_one_now_is_named() -> None:
    now = cluster_of("", DOCKER)
    runs = specs(now, head.services)
    old = {name: Spec(one.argv, one.env, one.of, "f" * 64) for name, one in runs.items()}
    offer = adopt.offer(Known(now, facts(now)), head.services, old)
    assert not offer.edits
    assert any("image: fff" in one for one in offer.left)


def test_the_address_of_a_node_goes_back_to_the_gate_of_addresses() -> None:
    then, now = cluster_of(""), with_values(cluster_of(""), [("nodes[1].fabric_ip", "10.9.0.2")])
    offer, changed = adopted(then, now, "workers", fabric_ips={})
    assert offer.edits == (("nodes[1].fabric_ip", "10.0.0.2"),)
    assert same(then, changed, "workers")


WORDS = st.one_of(
    st.text(max_size=12), st.sampled_from([*docker.HOLD, "--network", "-v", "--ipc", "a:b", ""])
)


@settings(max_examples=80, deadline=None)
@given(argv=st.lists(WORDS, max_size=8), env=st.dictionaries(WORDS, WORDS, max_size=3))
def test_whatever_the_label_of_a_container_says(argv: list[str], env: dict[str, str]) -> None:
    now = cluster_of("", DOCKER)
    known = Known(now, facts(now))
    then = {"a": Spec(tuple(argv), env)}
    offer = adopt.offer(known, head.services, then)
    if offer.edits:
        changed = with_values(now, offer.edits)
        assert not differences(then["a"], specs(changed, head.services)["a"])
