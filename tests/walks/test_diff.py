"""`milepost diff`: what changed between two walks, and that the culprit comes first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.case_runner import CLUSTER
from tests.helpers.walk_maker import make, settled_plan
from tui.cli.main import main
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import Walk, load
from wizard_steps.walks.diff import WalkChange, diff, near
from wizard_steps.walks.diff_lines import as_lines
from wizard_steps.walks.profile import profile
from wizard_steps.walks.shipped import FOLDER

__all__ = ["settled_plan"]


@pytest.fixture(scope="module")
def yesterday() -> Walk:
    return make(None)


def first(before: Walk, after: Walk) -> WalkChange:
    return diff(before, after).changes[0]


def test_the_same_walk_differs_in_nothing(yesterday: Walk) -> None:
    found = diff(yesterday, make(None))
    assert found.empty
    assert as_lines(found) == ["nothing that was recorded differs"]


def test_one_node_with_another_python(yesterday: Walk) -> None:
    after = make(None, {"install": "python-differs"})
    found = diff(yesterday, after)
    culprit = found.changes[0]
    assert (culprit.kind, culprit.what, culprit.nodes) == ("version", "python (install)", ("b",))
    assert (culprit.before, culprit.after) == ("3.11.7", "3.11.9")
    assert "install failed there" in culprit.why
    assert any("install: passed then, failed now" in line for line in found.verdicts)


def test_another_driver_on_all_nodes_is_one_change(yesterday: Walk) -> None:
    after = make(None, swap=(("580.159.04", "570.86.15"),))
    drivers = [c for c in diff(yesterday, after).changes if c.what == "driver"]
    assert [(c.nodes, c.before, c.after) for c in drivers] == [(("a", "b"), "580.159.04", "570.86.15")]
    assert first(yesterday, after).what == "driver"


def test_a_setting_that_the_failing_gate_names(yesterday: Walk) -> None:
    """TP 8 became 4; the kernel changed as well, which no gate complains about."""
    cluster = CLUSTER.replace("tensor_parallel = 8", "tensor_parallel = 4")
    after = make(None, {"serve": "too-many-gpus"}, cluster=cluster, swap=(("6.8.0-60", "6.8.0-61"),))
    changes = diff(yesterday, after).changes
    named = [c for c in changes if any("names it" in why for why in c.why)]
    assert changes[0].what == "serve.tensor_parallel"
    assert changes[0] in named
    kernel = next(c for c in changes if c.what == "kernel")
    assert kernel not in named
    assert changes.index(kernel) > 0
    assert [c.kind for c in changes][-1] == "command"


def test_a_lost_gpu(yesterday: Walk) -> None:
    after = make(None, {"smi": "one-gpu-lost"})
    culprit = first(yesterday, after)
    assert (culprit.kind, culprit.what) == ("gpu", "GPUs")
    assert len(culprit.nodes) == 1
    assert culprit.before.startswith("8 x ")
    assert culprit.after.startswith("7 x ")


def test_an_image_digest(yesterday: Walk) -> None:
    old = make(None, swap=(("ours: \n", "ours: \nDigest: sha256:" + "a" * 64 + "\n"),))
    new = make(None, swap=(("ours: \n", "ours: \nDigest: sha256:" + "b" * 64 + "\n"),))
    change = next(c for c in diff(old, new).changes if c.what == "image digest")
    assert change.before == "sha256:" + "a" * 64


def test_what_a_walk_never_came_to_has_not_changed(yesterday: Walk) -> None:
    after = make(None, {"reach": "no-python"})
    found = diff(yesterday, after)
    assert not [c for c in found.changes if c.kind in ("gpu", "command")]
    assert not [c for c in found.changes if c.what == "driver"]


FLAGS = """
[ray]
port = {port}
worker_flags = ["--num-gpus={gpus}", "--num-cpus=1"]
"""


def test_another_address_and_port_do_not_hide_the_flag_that_did_it() -> None:
    old, new = (CLUSTER + FLAGS.format(port=port, gpus=gpus) for port, gpus in ((6379, 8), (6380, 4)))
    swap = (("10.0.0.", "10.0.7."),)
    found = diff(
        make(None, cluster=old), make(None, {"ray_status": "worker-missing"}, cluster=new, swap=swap)
    )
    told = [c.what for c in found.changes]
    flag = next(c for c in found.changes if c.what == "ray.worker_flags --num-gpus")
    assert (flag.before, flag.after) == ("8", "4")
    assert "ray.port" in told
    assert "fabric_ip" in told
    # Commands that differ in nothing but the address and the port are not told again.
    assert not [c for c in found.changes if c.kind == "command" and "--num-gpus" not in c.after]


def test_a_walk_in_containers_and_one_without_differ_in_their_way_first() -> None:
    """What only one of the ways has is no difference; nor are two measurements of one network."""
    found = diff(load(FOLDER / "real-vllm-cpu"), load(FOLDER / "healthy-docker"))
    assert (found.changes[0].what, found.changes[0].before, found.changes[0].after) == (
        "path",
        "bare-metal",
        "docker",
    )
    what = {change.what for change in found.changes}
    assert not any(name.startswith("docker.") or name == "venv" for name in what), what
    assert not any(change.kind == "command" for change in found.changes)
    assert (
        not {
            "date",
            "content-length",
            "serve.api_key",
            "nodes.docker_flags",
            "instance",
            "seconds",
            "spec",
            "image-id",
        }
        & what
    )
    assert {slow.step for slow in found.timings} & {"head", "serve", "curl", "probe", "ray_status"}


def test_a_flag_of_two_words_is_one_change() -> None:
    before = make(None, cluster='path = "docker"\n' + CLUSTER + '[docker]\nextra_flags = ["-v", "/a:/a"]\n')
    after = make(None, cluster='path = "docker"\n' + CLUSTER + '[docker]\nextra_flags = ["-v", "/b:/b"]\n')
    changes = [c for c in diff(before, after).changes if c.what.startswith("docker.extra_flags")]
    assert [(c.what, c.before, c.after) for c in changes] == [("docker.extra_flags -v", "/a:/a", "/b:/b")]


def test_what_two_measurements_differ_by_is_chance() -> None:
    assert near("0.94", "0.98")
    assert not near("0.94", "0.31")
    assert not near("8000", "8001"), "a port is no measurement"
    assert not any(near(*pair) for pair in ((None, "1.0"), ("nan", "1.0"), ("1.0", "inf"), ("a.b", "1.0")))


def test_times(yesterday: Walk) -> None:
    events = list(make(None).events)
    at = next(n for n, e in enumerate(events) if isinstance(e, ev.CommandEnded) and e.node == "b")
    slow: list[ev.AnyEvent] = []
    from msgspec.structs import replace

    for n, event in enumerate(events):
        if isinstance(event, ev.CommandEnded) and n == at:
            event = replace(event, ended=event.ended + 30)
        slow.append(replace(event, t=event.t + (30 if n >= at else 0)))
    found = diff(yesterday, Walk(Path("w"), yesterday.meta, tuple(slow), yesterday.read))
    assert [(t.step, t.node) for t in found.timings] == [("reach", ""), ("reach", "b")]
    assert found.timings[1].after - found.timings[1].before == 30
    assert "reach on b" in "\n".join(as_lines(found))


def test_nodes_with_other_names_are_paired_by_place(yesterday: Walk) -> None:
    after = make(None, names=("dgx01", "dgx02"), swap=(("6.8.0-60", "6.8.0-61"),))
    kernel = next(c for c in diff(yesterday, after).changes if c.what == "kernel")
    assert kernel.nodes == ("a", "b")


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b", {"install": "python-differs"})
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert main(["diff", a, a]) == 0
    assert "nothing that was recorded differs" in capsys.readouterr().out
    assert main(["diff", a, b]) == 1
    assert "  1. version: python (install) on b: 3.11.7 -> 3.11.9" in capsys.readouterr().out
    assert main(["diff", a, b, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["changes"][0]["nodes"] == ["b"]
    assert main(["diff", a, str(tmp_path / "none")]) == 2


def test_what_a_load_measured_is_no_cause() -> None:
    kinds = {kind for kind, what, _ in profile(load(FOLDER / "h100x2-load")).facts if what.endswith("_ms")}
    assert "fact" not in kinds


def test_what_each_lab_draws_is_no_change_and_a_wrong_address_is_told_once() -> None:
    found = diff(load(FOLDER / "healthy-bare-metal"), load(FOLDER / "same-host-ip")).changes
    told = [change for change in found if "fabric_ip" in change.what]
    assert told == [found[0]]
    assert (found[0].what, found[0].nodes) == ("nodes.fabric_ip", ("node-2",))
    drawn = ("port", "identity", "known_hosts", "ssh.config", "HF_ENDPOINT")
    assert not [change for change in found if change.kind == "setting" and change.what.endswith(drawn)]
