"""The diagnosis engine itself: places, order, fixes, rule files. No rule texts here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.diagnose_help import FAILURE, NOISE
from wizard_steps.diagnose import (
    Fix,
    Source,
    diagnose,
    diagnose_streams,
)
from wizard_steps.diagnose.rank import BROAD
from wizard_steps.diagnose.rule_file import RuleError
from wizard_steps.diagnose.rules import default_rules, load
from wizard_steps.diagnose.scan import BLOCK


def test_place_is_file_and_line() -> None:
    text = NOISE * 41 + FAILURE + NOISE
    finding = diagnose([Source("a.log", text, node="gpu-a")])[0]
    assert (finding.family, finding.node) == ("gpu-memory", "gpu-a")
    assert [(e.file, e.line) for e in finding.evidence] == [("a.log", 42)]
    assert finding.evidence[0].text == FAILURE.strip()


def test_line_numbers_are_those_of_the_file_over_blocks_and_progress_bars(tmp_path: Path) -> None:
    lines = 3 * BLOCK // len(NOISE)
    path = tmp_path / "big.log"
    path.write_bytes(("10%\r20%\r\x1b[K30%\n" + NOISE * lines + FAILURE + NOISE * 9).encode())
    finding = diagnose_streams([(Source("big.log", ""), lambda: path.open("rb"))])[0]
    assert finding.evidence[0].line == lines + 2


def test_context_reaches_over_the_block_border() -> None:
    first = "a line that fills the block exactly\n"
    pad = first * ((BLOCK - 20) // len(first))
    text = pad + "terminate called\n  what():  Operation not permitted\n" + first * 20_000
    assert [f.rule for f in diagnose([Source("x", text)])] == ["container-not-permitted"]


def test_a_huge_line_is_searched_and_shortened() -> None:
    text = "x" * 3_000_000 + " CUDA out of memory " + "y" * 3_000_000
    finding = diagnose([Source("x", text)])[0]
    assert finding.family == "gpu-memory"
    assert len(finding.evidence[0].text) <= 4096
    assert finding.evidence[0].line == 1


def test_what_the_text_names_stands_in_the_commands() -> None:
    text = "rpc_client.h:153: Failed to connect to GCS at address 172.16.11.65:41000 within 5 seconds.\n"
    finding = diagnose([Source("x", text)])[0]
    assert "172.16.11.65" in finding.cause
    assert any("sport = :41000" in action.command for action in finding.try_)
    login = diagnose([Source("x", "me@gpu-b: Permission denied (publickey).\n")])[0]
    assert login.node == "gpu-b"
    assert "ssh-copy-id me@gpu-b" in [action.command for action in login.try_]


def test_a_value_that_a_shell_would_act_on_stays_out_of_the_commands() -> None:
    text = (
        "Error: Docker image mismatch on worker node (10.0.0.2):\nUnable to find image 'x;reboot' locally\n"
    )
    for action in diagnose([Source("x", text)])[0].try_:
        assert "reboot" not in action.command


def test_what_comes_later_takes_a_finding_back() -> None:
    hang = "a:1:2 [0] NCCL INFO socketPollConnect: connect returned No route to host, retrying (9/34)\n"
    assert diagnose([Source("x", hang)])[0].rule == "nccl-peer-unreachable"
    assert diagnose([Source("x", hang + "a:1:2 [0] NCCL INFO comm 0x1 rank 0 - Init COMPLETE\n")]) == []


def test_one_engine_that_came_up_hides_no_other_that_failed() -> None:
    text = (
        "(EngineCore_DP1 pid=2) ERROR 11-24 08:00:00 [c.py:1] torch.OutOfMemoryError: CUDA out of memory.\n"
    )
    other = (
        "(EngineCore_DP0 pid=1) INFO 11-24 08:00:09 [core.py:306] init engine (profile) took 61.2 seconds\n"
    )
    assert [f.kind for f in diagnose([Source("x", text + other)])] == ["cause"]


def test_what_came_before_a_start_is_a_remark_and_a_broken_card_stays_broken() -> None:
    started = "(APIServer pid=1) INFO:     Application startup complete.\n"
    port = "[Errno 98] address already in use\n"
    card = "NVRM: Xid (PCI:0000:1b:00): 79, pid=1234, GPU has fallen off the bus.\n"
    assert [f.kind for f in diagnose([Source("x", port + started)])] == ["hint"]
    assert [f.kind for f in diagnose([Source("x", card + started)])] == ["cause"]
    assert [f.kind for f in diagnose([Source("x", started + port)])] == ["cause"]
    assert [f.kind for f in diagnose([Source("x", port + started * 3)])] == ["hint"]


def test_many_equal_failures_are_one_finding() -> None:
    finding = diagnose([Source("x", FAILURE * 10_000)])
    assert len(finding) == 1
    assert finding[0].evidence[0].line == 1
    assert len(finding[0].evidence) <= 3


def test_the_same_failure_on_two_nodes_is_two_findings() -> None:
    text = "".join(f"(RayWorkerProc pid=1, ip=10.0.0.{n}) CUDA out of memory\n" for n in (2, 3))
    assert [f.node for f in diagnose([Source("x", text)])] == ["10.0.0.2", "10.0.0.3"]


def test_text_without_times_comes_last_in_the_order_given() -> None:
    lines = {
        "a": "OSError: [Errno 98] Address already in use",
        "b": "OSError: [Errno 28] No space left on device",
        "c": FAILURE,
    }
    found = diagnose([Source(f"{node}.log", text, node) for node, text in lines.items()])
    assert [f.node for f in found] == ["c", "a", "b"]


def test_code_of_a_traceback_is_weaker_than_what_was_said() -> None:
    text = '    raise ValueError("CUDA out of memory")\nOSError: [Errno 98] Address already in use\n'
    assert [f.family for f in diagnose([Source("x", text)])] == ["ports"]


def test_a_fix_is_quoted_and_never_half_filled() -> None:
    fix = Fix("x", "{venv}/bin/pip install ray=={ray_version}")
    assert (
        fix.filled({"venv": "/opt/my env", "ray_version": "2.60.0"})
        == "'/opt/my env'/bin/pip install ray==2.60.0"
    )
    assert fix.filled({"venv": "/opt/v; rm -rf /", "ray_version": "$(x)"}) == (
        "'/opt/v; rm -rf /'/bin/pip install ray=='$(x)'"
    )
    assert fix.filled({"venv": "/opt/v"}) is None


def test_every_fix_of_a_rule_can_be_filled() -> None:
    values = {"venv": "/opt/v", "ray_version": "2.60.0"}
    for rule in default_rules().rules:
        for fix in rule.fixes:
            filled = fix.filled(values)
            assert filled
            assert "{" not in filled


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret-token")
    text = "CUDA out of memory hf_ABCDEFGHIJKLMNOPQRSTUVWX s3cret-token"
    shown = diagnose([Source("x", text)])[0].evidence[0].text
    assert "hf_ABC" not in shown
    assert "s3cret" not in shown


def test_every_expression_of_the_rules_compiles() -> None:
    assert len(load().rules) == len(default_rules().rules)


def test_no_rule_is_slow_on_long_lines() -> None:
    """Not a timing: an expression that needs seconds would run into the time limit of the test."""
    for rule in default_rules().compiled:
        for word in sorted(frozenset().union(*rule.words))[:3]:
            for filler in ("a", "/", "1.", f"{word} "):
                rule.search((word + filler * 4096)[:4096])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[rule]]\nid = 1\n", "id"),
        ("nonsense", "bad.toml"),
        (
            '[[rule]]\nid="x"\nfamily="ssh"\npatterns=["("]\ncause="c."\nsource="https://e.org"\ntry=[]\n',
            "rule x",
        ),
        ("", "rule"),
    ],
)
def test_a_wrong_rule_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(RuleError, match=says):
        load(tmp_path)


def test_what_stands_around_a_line_names_the_values() -> None:
    text = (
        "(pid=7) RuntimeError: Version mismatch: The cluster was started with:\n(pid=7)     Ray: 2.60.0\n"
        "(pid=7)     Python: 3.12.3\n(pid=7) This process on node 10.0.0.2 was started with:\n"
        "(pid=7)     Ray: 2.55.1\n(pid=7)     Python: 3.12.9"
    )
    found = diagnose([Source("x", text)])[0]
    assert found.node == "10.0.0.2"
    assert all(value in found.cause for value in ("2.60.0", "2.55.1", "3.12.3", "3.12.9"))
    assert any("ray[default]==2.60.0" in action.command for action in found.try_)


def test_a_rule_for_many_messages_is_less_sure_where_it_repeats_nothing_of_the_line() -> None:
    many = diagnose([Source("x", "OSError: No space left on device")])[0]
    few = diagnose([Source("x", "nvidia-smi: GPU has fallen off the bus")])[0]
    assert many.confidence == BROAD < few.confidence


def test_the_history_of_a_flag_is_told() -> None:
    gone = diagnose([Source("x", "vllm: error: unrecognized arguments: --enable-reasoning")])[0]
    none = diagnose([Source("x", "vllm: error: unrecognized arguments: --no-such-thing")])[0]
    assert "is gone since vLLM" in gone.cause
    assert "No release of vLLM from 0.6.0" in none.cause


TRIES = "[W1124 08:00:00.1 TCPStore.cpp:330] [c10d] TCP client failed to connect to host 10.0.0.1:41312 - retrying\n"


def test_a_retry_is_a_remark_where_something_follows_and_a_failure_where_the_text_ends_with_it() -> None:
    waits = diagnose([Source("x.log", TRIES * 3)])
    went_on = diagnose(
        [Source("x.log", TRIES * 3 + "INFO 11-24 08:00:40 [core.py:77] rank 1 of 2 is there\n")]
    )
    assert (waits[0].rule, waits[0].kind) == ("store-retries", "effect")
    assert (went_on[0].rule, went_on[0].kind) == ("store-retries", "hint")


def test_an_error_that_says_what_is_ignored_did_happen() -> None:
    said = "ValueError: the model needs 2 GPUs, invalid option --x ignored\n"
    assert diagnose([Source("x.log", f"ERROR 11-24 08:00:00 [core.py:77] {said}")])[0].kind != "hint"


def test_an_unknown_error_is_a_remark_where_the_text_ends_as_usual() -> None:
    error = "Error: the frobnicator has no flux\n"
    usual = "".join(f"step {n} of the run\n" for n in range(6))
    assert diagnose([Source("x.log", error)])[0].kind == "unknown"
    assert diagnose([Source("x.log", usual + error)])[0].kind == "unknown"
    assert diagnose([Source("x.log", error + usual)])[0].kind == "hint"
    assert diagnose([Source("x.log", error + usual + "exited with exit code 1\n")])[0].kind == "unknown"


def test_a_retry_before_more_trouble_is_no_remark() -> None:
    end = "torch.distributed.DistNetworkError: The client socket has timed out after 600000ms\n"
    found = diagnose([Source("x.log", TRIES + end)])
    assert "store-retries" in {finding.rule for finding in found if finding.kind == "effect"}


def test_what_a_text_ends_in_success_after_is_a_remark() -> None:
    error = "Error: the frobnicator has no flux\n"
    assert diagnose([Source("x.log", error)])[0].kind == "unknown"
    ended = error + "all traces are there\nJob finished (status: SUCCEEDED).\n"
    assert diagnose([Source("x.log", ended)])[0].kind == "hint"
    assert diagnose([Source("x.log", ended + "Error: the upload failed\n")])[0].kind != "hint"


def test_an_effect_with_many_causes_is_a_remark_where_the_text_goes_on_as_usual() -> None:
    error = "AttributeError: 'MessageFactory' object has no attribute 'GetPrototype'\n"
    usual = "".join(f"INFO 11-24 08:00:0{n} [core.py:77] step {n}\n" for n in range(6))
    assert diagnose([Source("x.log", error)])[0].kind == "effect"
    assert diagnose([Source("x.log", error + usual)])[0].kind == "hint"
