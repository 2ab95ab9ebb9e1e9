"""`milepost edit`: consistent renames, placeholders, cuts, notes, and walks that must not be saved."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.walk_maker import make, settled_plan, steps
from tui.cli.main import main
from tui.cli.replays import Options, run_replays
from wizard_steps.engine.decide import Answer
from wizard_steps.errors import UsageError, WalkError
from wizard_steps.recording import events as ev
from wizard_steps.recording import journal as walks
from wizard_steps.recording.journal import Walk
from wizard_steps.recording.redact import MARK, Redactor
from wizard_steps.recording.spool import MemorySpool
from wizard_steps.walks import cut, identify, rename, save
from wizard_steps.walks.replay import replay
from wizard_steps.walks.texts import Draft, changed, draft, outputs, texts

SWAP = (
    ("10.0.0.", "10.84.3."),
    ("192.168.7.", "172.20.9."),
    ("ubuntu", "jdoe"),
    ("gpu-a", "dgx07.hpc.acme.com"),
    ("gpu-b", "dgx08.hpc.acme.com"),
    ("fe80::2", "fe80::9aee:cbff:fe01:2"),
)

__all__ = ["settled_plan"]
NAMES = ("dgx07", "dgx08")
TELLING = ("dgx0", "10.84", "172.20", "jdoe", "acme", "9aee")


def clean(redactor: Redactor | None = None) -> Redactor:
    return redactor or Redactor()


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("private") / "walk"
    make(folder, {"smi": ("one-gpu-lost", "eight-and-eight")}, (Answer("retry"),), swap=SWAP, names=NAMES)
    return folder


def everything(folder: Path) -> str:
    """All that a reader of a saved walk could read, packed files and file names included."""
    item = draft(walks.load(folder))
    names = "\n".join(path.name for path in folder.rglob("*"))
    return names + "\n".join(text for _, text in texts(item))


def test_placeholders_leave_nothing_that_tells_and_replay_alike(private: Path, tmp_path: Path) -> None:
    before = everything(private)
    assert all(word in before for word in TELLING)
    assert main(["edit", str(private), "--placeholders", "-o", str(tmp_path / "clean")]) == 0
    after = everything(tmp_path / "clean")
    assert [word for word in TELLING if word in after] == []
    for word in ("node-1", "node-2", "10.20.0.1", "10.20.0.2", "user-1", "host-1"):
        assert word in after
    walk = walks.load(tmp_path / "clean")
    assert len(walk.events) == len(walks.load(private).events)
    result = asyncio.run(replay(walk))
    assert (result.outcome, result.drift) == ("passed", "")
    assert "placeholders" in walk.meta.edited[0]
    # Versions have four numbers too; driver and pip versions are not addresses.
    assert "580.159.04" in after


def test_containers_have_other_names_too_and_their_fingerprints_follow(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "snapshots" / "walks" / "docker-killed"
    assert "milepost-real-hosts-node-a" in everything(shipped)
    assert (
        main(
            ["edit", str(shipped), "--rename", "node-a=left", "--placeholders", "-o", str(tmp_path / "clean")]
        )
        == 0
    )
    after = everything(tmp_path / "clean")
    assert "milepost-real-hosts" not in after
    assert "milepost-cluster-node-1" in after
    walk = walks.load(tmp_path / "clean")
    assert asyncio.run(replay(walk)).drift == ""
    assert [text for text in walk.meta.edited if not text] == []


def test_a_rename_is_the_same_in_events_outputs_names_and_facts(private: Path, tmp_path: Path) -> None:
    words = [
        "--rename",
        "dgx07=alpha",
        "--rename",
        "dgx07.hpc.acme.com=a.example",
        "--rename",
        "10.84.3.1=10.9.9.9",
    ]
    assert main(["edit", str(private), *words, "-o", str(tmp_path / "new")]) == 0
    walk = walks.load(tmp_path / "new")
    text = everything(tmp_path / "new")
    assert "dgx07" not in text
    assert "10.84.3.1:" not in text
    assert "10.84.3.2" in text
    facts = {k: v for e in walk.events if isinstance(e, ev.Judged) for k, v in e.verdict.facts.items()}
    assert facts["fabric_ips"] == {"alpha": "10.9.9.9", "dgx08": "10.84.3.2"}
    first = walk.events[0]
    assert isinstance(first, ev.WalkStarted)
    node = first.cluster["nodes"][0]
    assert (node["name"], node["host"]) == ("alpha", "a.example")
    assert (tmp_path / "new" / "out" / "alpha.reach.whoami.log").exists()
    assert asyncio.run(replay(walk)).outcome == "passed"


def test_names_that_hold_each_other_and_swaps() -> None:
    pairs = [("gpu-1", "gpu-2"), ("gpu-2", "gpu-1"), ("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")]
    made = rename._change([rename.of_name(*pair) for pair in pairs])
    text = (
        "gpu-1 gpu-10 xgpu-1 gpu-1-ib gpu-2.local 10.0.0.1:6379 10.0.0.12 110.0.0.1 1.10.0.0.1 -> 10.0.0.2."
    )
    assert made.word(text) == (
        "gpu-2 gpu-10 xgpu-1 gpu-1-ib gpu-1.local 10.0.0.2:6379 10.0.0.12 110.0.0.1 1.10.0.0.1 -> 10.0.0.1."
    )
    assert made.exact("id", "ip-gpu-1") == "ip-gpu-2"


def test_a_node_called_head_is_renamed_only_where_it_is_the_node() -> None:
    change = rename._change([rename.of_name("head", "node-1")])
    assert change.word("MILEPOST_ID=lab/head/head ray start --head head.log") == (
        "MILEPOST_ID=lab/node-1/head ray start --head head.log"
    )
    assert change.exact("node", "head") == "node-1"
    assert change.exact("role", "head") == "head"


def test_two_names_cannot_become_one(private: Path, tmp_path: Path) -> None:
    item = draft(walks.load(private))
    with pytest.raises(UsageError, match="cannot both become x"):
        rename.rename(item, [rename.of_name("dgx07", "x"), rename.of_name("dgx08", "x")], "")


def test_a_rename_that_changes_what_a_replay_says_is_refused(private: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    assert main(["edit", str(private), "--rename", "nvidia-smi=amd-smi", "-o", str(target)]) == 1 + 1
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.binary(max_size=8), max_size=8))
def test_pieces_of_an_output_keep_their_order_whatever_is_renamed(pieces: list[bytes]) -> None:
    data = [b"x gpu-a", *pieces, b" gp", b"u-a 10.0.0.1", b"", b" end"]
    spool = MemorySpool()
    started = ev.CommandStarted(0.0, 1, "s", "gpu-a", "k", "t", 0, "gpu-a.s.k.log")
    events: list[ev.AnyEvent] = [started]
    for part in data:
        events.append(ev.Output(0.0, 1, "gpu-a", *spool.append("gpu-a.s.k.log", part)))
    walk = Walk(Path("w"), walks.Meta(), tuple(events), spool.read)
    change = rename._change([rename.of_name("gpu-a", "node-one"), rename.of_name("10.0.0.1", "10.0.0.77")])
    new = changed(walk, change)
    (only,) = outputs(new)
    want = b"".join(data)
    assert only[1].replace(b"node-one", b"gpu-a").replace(b"10.0.0.77", b"10.0.0.1") == want
    ends = [e.end for e in new.events if isinstance(e, ev.Output)]
    assert ends == sorted(ends)
    assert len(ends) == len(data)


def test_cutting_an_attempt(private: Path, tmp_path: Path) -> None:
    assert main(["edit", str(private), "--cut", "smi:1", "-o", str(tmp_path / "short")]) == 0
    walk = walks.load(tmp_path / "short")
    judged = [(e.step, e.attempt, e.verdict.passed) for e in walk.events if isinstance(e, ev.Judged)]
    assert ("smi", 1, True) in judged
    assert len(judged) == len(steps())
    assert walk.events[-1].t < walks.load(private).events[-1].t
    times = [e.t for e in walk.events]
    assert times == sorted(times)
    assert run_replays([tmp_path / "short"], Options(quiet=True)) == 0
    with pytest.raises(UsageError, match="no such attempt"):
        cut.attempt(draft(walk), "smi", 2)
    with pytest.raises(UsageError, match="only attempt"):
        cut.attempt(draft(walk), "smi", 1)


def test_cutting_what_came_after(private: Path, tmp_path: Path) -> None:
    assert main(["edit", str(private), "--cut-after", "install", "-o", str(tmp_path / "short")]) == 0
    walk = walks.load(tmp_path / "short")
    assert isinstance(walk.events[-1], ev.WalkEnded)
    assert not any("serve" in path.name for path in (tmp_path / "short" / "out").iterdir())
    assert run_replays([tmp_path / "short"], Options(quiet=True, as_recorded=True)) == 0


def test_notes_afterwards(private: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "w"
    make(folder, {"serve": "port-taken"})
    assert main(["edit", str(folder), "--note", "serve", "see who has it", "--author", "An Author"]) == 0
    assert main(["edit", str(folder), "--ask", "serve", "what would you try?", "--attempt", "1"]) == 0
    assert main(["edit", str(folder), "--note", "nosuch", "x"]) == 2
    assert f"It has {', '.join(steps())}" in capsys.readouterr().err
    found = walks.load(folder).notes
    assert [(n.step, n.kind, n.attempt) for n in found] == [("serve", "note", 0), ("serve", "ask", 1)]
    assert run_replays([folder], Options(quiet=True)) == 1


def test_a_walk_with_a_known_secret_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, secret = tmp_path / "w", "correct-horse-battery"
    make(folder, swap=(("Python 3.11.7", f"Python 3.11.7 {secret}"),))
    for words in (["--title", "x"], ["--note", "reach", f"it is {secret}"]):
        monkeypatch.setenv("HF_TOKEN", secret)
        assert (
            main(["edit", str(folder), *words, *(["-o", str(tmp_path / "n")] if "--title" in words else [])])
            == 2
        )
        said = capsys.readouterr()
        assert secret not in said.out + said.err
    assert not (tmp_path / "n").exists()
    assert walks.load(folder).notes == ()
    assert main(["edit", str(folder), "--report"]) == 0
    said = capsys.readouterr().out
    assert "it would not be saved" in said
    assert "out/a.reach.whoami.log" in said
    assert secret not in said
    assert main(["edit", str(folder), "--redact", "--in-place", "--report"]) == 0
    text = everything(folder)
    assert secret not in text
    assert MARK in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w"]
    assert run_replays([folder], Options(quiet=True)) == 0


def test_a_private_key_over_many_lines_is_taken_out(tmp_path: Path) -> None:
    from wizard_steps.walks.redacting import redact

    name = "OPENSSH PRIVATE KEY"
    key = f"-----BEGIN {name}-----\nb3BlbnNzaC1rZXktdjEAAAAA\nAAAA\n-----END {name}-----"
    make(tmp_path / "w", swap=(("Python 3.11.7", f"Python 3.11.7\n{key}"),))
    item = draft(walks.load(tmp_path / "w"))
    with pytest.raises(WalkError, match="a known secret"):
        save.save(item, tmp_path / "n", Redactor())
    save.save(redact(item, Redactor()), tmp_path / "n", Redactor())
    assert "b3BlbnNz" not in everything(tmp_path / "n")


def test_the_report_tells_what_still_identifies(private: Path) -> None:
    lines = "\n".join(identify.report(draft(walks.load(private)), Redactor()))
    for word in ("dgx07", "dgx08.hpc.acme.com", "10.84.3.1", "172.20.9.2", "jdoe", "fe80::9aee:cbff:fe01:2"):
        assert word in lines
    assert "127.0.0.1" not in lines


def test_placeholders_keep_neighbours_and_sorts() -> None:
    found = identify._v4({"10.84.3.1": 1, "10.84.3.2": 1, "10.99.0.1": 1, "100.100.1.5": 1, "8.8.4.4": 1})
    assert list(found.values()) == ["10.20.0.1", "10.20.0.2", "10.20.1.1", "100.64.0.5", "198.18.0.4"]


def test_a_version_is_no_address() -> None:
    text = "nvidia-curand-cu12==10.3.9.90 v10.1.2.3 driver 580.65.06.1 at 10.1.2.3:80"
    assert identify._V4.findall(text) == ["580.65.06.1", "10.1.2.3"]
    assert [a for a in identify._V4.findall(text) if identify._tells(a)] == ["10.1.2.3"]


def test_an_ipv4_address_in_ipv6_notation_and_a_login_are_not_taken_for_something_else() -> None:
    assert identify._V6.findall("[::ffff:127.0.0.1]:80 fe80::1%eth0 08:27:36") == ["fe80::1", "08:27:36"]
    assert not identify._tells6("08:27:36")
    assert identify._MAIL.findall("root@10.0.0.1 root@gpu-a a.b@example.com") == ["a.b@example.com"]


def test_pictures_of_renamed_walks_are_left_out_and_texts_are_renamed(private: Path) -> None:
    walk = walks.load(private)
    item = Draft(walk, {"01-reach.txt": "dgx07$ id", "01-reach.svg": "<svg>dgx07</svg>"})
    done = rename.rename(item, [rename.of_name("dgx07", "alpha")], "renamed")
    assert dict(done.evidence) == {"01-reach.txt": "alpha$ id"}
    assert "removed 1 picture" in done.said[-1]


def test_saving_over_something_or_nowhere(private: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    item = draft(walks.load(private))
    with pytest.raises(WalkError, match="is there already"):
        save.save(item, tmp_path / "there", clean())
    with pytest.raises(WalkError, match="cannot"):
        save.save(item, Path("/proc/nowhere/walk"), clean())
    assert main(["edit", str(private), "--placeholders"]) == 2
    assert main(["edit", str(private)]) == 2
    assert main(["edit", str(private), "--rename", "x", "-o", str(tmp_path / "n")]) == 2
    assert main(["edit", str(private), "--cut", "smi", "-o", str(tmp_path / "n")]) == 2
