"""The facts script for real: under this machine's sh (and busybox, where it is), with and without tools."""

from __future__ import annotations

import http.server
import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wizard_steps.cluster.file import Cluster, Docker, NodeEntry, Serve
from wizard_steps.facts.node import NodeAnswer, NodeFacts, parse_node
from wizard_steps.facts.script import commands, script, sections
from wizard_steps.facts.sections import split
from wizard_steps.facts.software import parse_access, parse_processes

SHELLS = [["sh"], *([["busybox", "sh"]] if shutil.which("busybox") else [])]
TOKEN = "hf_secretsecretsecret"


def cluster(**fields: object) -> Cluster:
    nodes = (NodeEntry(host="a", role="head", gpus=8),)
    return Cluster(nodes=nodes, **fields)  # type: ignore[arg-type]


def run(text: str, shell: list[str] | None = None, stdin: str = "", **env: str) -> str:
    done = subprocess.run(
        [*(shell or ["sh"]), "-c", text],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        env={"PATH": os.environ["PATH"], **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def facts(text: str, **env: str) -> NodeFacts:
    return parse_node({"facts": NodeAnswer(run(text, None, "", **env))})


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_every_section_answers_on_this_machine(shell: list[str], tmp_path: Path) -> None:
    one = cluster()
    output = run(script(one), shell, HOME=str(tmp_path))
    assert list(split(output)) == [*sections(one), "end"]
    found = parse_node({"facts": NodeAnswer(output)})
    assert found.problem == ""
    assert found.host.kernel == os.uname().release
    assert found.limits.open_files
    assert found.shm is not None
    assert found.interfaces
    assert found.listeners_known
    assert found.token.source == "absent"
    assert not found.model.present
    assert list(tmp_path.iterdir()) == [], "the script is read-only"


def test_without_any_tool_every_section_says_so(tmp_path: Path) -> None:
    """Only the shell itself: PATH leads nowhere, so that even `sh -c` of a section is not found."""
    bare = script(cluster()).replace("/usr/local/sbin:/usr/sbin:/sbin:", "")
    shell = shutil.which("sh")
    assert shell
    done = subprocess.run(
        [shell, "-c", bare], capture_output=True, text=True, timeout=30, env={"PATH": str(tmp_path)}
    )
    found = split(done.stdout)
    assert list(found) == [*sections(cluster()), "end"]
    assert {one.code for one in found.values()} == {127}
    gathered = parse_node({"facts": NodeAnswer(done.stdout)})
    assert gathered.gpu.problem == "not-installed"
    assert not gathered.listeners_known


def test_a_section_that_hangs_is_ended_and_the_rest_comes(tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n[ $# -gt 0 ] || sleep 60\nexit 9\n")
    tool.chmod(0o755)
    found = split(
        run(script(cluster(), limit=1), PATH=f"{tmp_path}:{os.environ['PATH']}", HOME=str(tmp_path))
    )
    assert found["nvidia"].code in (124, 143)
    assert found["os"].ok
    assert found["model"].code == 3


def test_hostile_names_stay_words(tmp_path: Path) -> None:
    evil = "$(touch pwned)'`touch pwned`\"; touch pwned #"
    one = cluster(venv=f"/{evil}", serve=Serve(model=f"~/{evil}"), env={"HF_HOME": evil})
    for path in ("bare-metal", "docker"):
        two = cluster(path=path, venv=f"/{evil}", serve=Serve(model=evil),
                      docker=Docker(image=evil, command=shlex.quote(evil), hf_home=evil))  # fmt: skip
        for which in (one, two):
            for cmd in commands(which.head, which):
                done = subprocess.run(
                    ["sh", "-c", cmd.text], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                    input="", env={"PATH": os.environ["PATH"], "HOME": str(tmp_path),
                                   "HF_ENDPOINT": "http://127.0.0.1:9"},
                )  # fmt: skip
                assert "syntax" not in done.stderr.lower(), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_model_folder_and_hub_cache(tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x" * 300_000)
    model = facts(script(cluster(serve=Serve(model=str(folder)))), HOME=str(tmp_path)).model
    assert model.present
    assert model.kib >= 290
    assert model.config

    home = tmp_path / "hf"
    cache = home / "hub" / "models--org--name"
    (cache / "snapshots" / "abc123").mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "blobs").mkdir()
    (cache / "refs" / "main").write_text("abc123")
    (cache / "snapshots" / "abc123" / "config.json").write_text("{}")
    (cache / "blobs" / "x.incomplete").write_text("")
    found = facts(script(cluster(serve=Serve(model="org/name"))), HF_HOME=str(home)).model
    assert (found.revision, found.config, found.partial) == ("abc123", model.config, True)


def test_ray_token_is_only_told_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    file = tmp_path / ".ray" / "auth_token"
    file.write_text("geheim\n")
    output = run(script(cluster()), HOME=str(tmp_path))
    assert "geheim" not in output
    first = parse_node({"facts": NodeAnswer(output)}).token
    assert (first.source, first.digest) == ("file", "addb0f5e7826")
    # A trailing newline or the way it is given makes no difference to Ray, and none here.
    file.unlink()
    second = facts(script(cluster()), HOME=str(tmp_path), RAY_AUTH_TOKEN="geheim").token
    assert (second.source, second.digest) == ("environment", first.digest)


def test_processes_are_told_without_their_arguments(tmp_path: Path) -> None:
    tool = tmp_path / "ps"
    tool.write_text(
        "#!/bin/sh\ncat <<'END'\n"
        "  101 alice    /v/lib/ray/core/src/ray/raylet/raylet --redis_password=SECRET /opt/vllm\n"
        "  102 alice    /v/lib/ray/core/src/ray/gcs/gcs_server --x\n"
        "  103 alice    ray::IDLE\n"
        "  104 bob      VLLM::EngineCore\n"
        "  105 bob      /v/bin/python3 /v/bin/vllm serve x --api-key SECRET\n"
        "  106 bob      bash -c /v/bin/vllm serve x\n"
        "  107 bob      tail -F /var/log/raylet \n"
        "  108 bob      vim vllm-notes.txt\n"
        "END\n"
    )
    tool.chmod(0o755)
    output = run(script(cluster()), PATH=f"{tmp_path}:{os.environ['PATH']}", HOME=str(tmp_path))
    assert "SECRET" not in output
    found = parse_processes(split(output)["processes"])
    assert [(one.pid, one.user, one.kind) for one in found] == [
        (101, "alice", "raylet"), (102, "alice", "gcs_server"), (103, "alice", "ray::"),
        (104, "bob", "VLLM::"), (105, "bob", "vllm"),
    ]  # fmt: skip


def test_the_script_does_not_find_itself(tmp_path: Path) -> None:
    """Its own shells and greps hold the names it looks for. Only they are listed: others start and end at will."""
    ps, seen = shutil.which("ps"), tmp_path / "seen"
    assert ps
    tool = tmp_path / "ps"
    tool.write_text(
        f'#!/bin/sh\n[ "$*" = "-ww -eo pid=,user=,args=" ] || exec {ps} "$@"\n'
        f"{ps} -ww -s $({ps} -o sid= -p $$) -o pid=,user=,args= | tee {shlex.quote(str(seen))}\n"
    )
    tool.chmod(0o755)
    output = run(script(cluster()), PATH=f"{tmp_path}:{os.environ['PATH']}", HOME=str(tmp_path))
    assert "raylet" in seen.read_text()
    assert not parse_processes(split(output)["processes"])


def test_proxy_passwords_stay_on_the_node(tmp_path: Path) -> None:
    output = run(script(cluster()), HOME=str(tmp_path), https_proxy="http://joe:SECRET@proxy.test:3128")
    assert "SECRET" not in output
    assert parse_node({"facts": NodeAnswer(output)}).proxies["https_proxy"].endswith("proxy.test:3128")


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does: gated without the right token."""

    seen: list[str]

    def do_HEAD(self) -> None:
        auth = self.headers.get("Authorization", "")
        type(self).seen.append(f"{self.path} {auth}")
        if "gated" in self.path and auth != f"Bearer {TOKEN}":
            self.send_response(401)
            self.send_header("X-Error-Code", "GatedRepo")
        else:
            self.send_response(404 if "absent" in self.path else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.seen = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def without_curl(folder: Path) -> str:
    """A PATH that has what the access script needs, but no curl."""
    folder.mkdir()
    for tool in ("sh", "cat", "tr", "sed", "python3"):
        real = shutil.which(tool)
        assert real
        (folder / tool).symlink_to(Path(real).resolve() if tool != "python3" else os.sys.executable)  # type: ignore[attr-defined]
    return str(folder)


@pytest.mark.parametrize("client", ["curl", "python"])
def test_access_to_a_gated_model(client: str, hub: str, tmp_path: Path) -> None:
    if client == "curl" and not shutil.which("curl"):
        pytest.skip("no curl here")
    path = os.environ["PATH"] if client == "curl" else without_curl(tmp_path / "bin")

    def ask(model: str, stdin: str = "", **env: str) -> tuple[int, str, str]:
        one = cluster(serve=Serve(model=model), env={"HF_ENDPOINT": hub})
        cmd = commands(one.head, one)[-1]
        assert cmd.key == "access"
        assert cmd.secrets == ("HF_TOKEN",)
        assert not cmd.mutates
        output = run(cmd.text, None, stdin, **{"PATH": path, "HOME": str(tmp_path), **env})
        assert TOKEN not in output
        found = parse_access(output)
        return found.status, found.code, found.token

    assert ask("org/gated") == (401, "GatedRepo", "none")
    assert ask("org/gated", HF_TOKEN=TOKEN) == (200, "", "environment")
    assert ask("org/gated", stdin=f"HF_TOKEN={TOKEN}\n") == (200, "", "wizard")
    file = tmp_path / ".cache" / "huggingface" / "token"
    file.parent.mkdir(parents=True)
    file.write_text(TOKEN + "\n")
    assert ask("org/gated") == (200, "", "file")
    assert ask("org/absent")[0] == 404
    assert Hub.seen[0].startswith("/org/gated/resolve/main/config.json")


def test_no_way_to_the_hub(tmp_path: Path) -> None:
    one = cluster(env={"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"})
    found = parse_access(run(commands(one.head, one)[-1].text, HOME=str(tmp_path)))
    assert (found.status, found.token, found.offline) == (0, "none", True)
    assert found.error


def test_a_model_folder_needs_no_hub() -> None:
    one = cluster(serve=Serve(model="/models/x"))
    assert [cmd.key for cmd in commands(one.head, one)] == ["facts", "clock", "config"]
    assert len(script(one)) < 16_000, "must fit into one ssh command line"


def test_disks_of_folders_that_are_not_there_yet(tmp_path: Path) -> None:
    for home in (str(tmp_path / "a" / "b"), "relative/folder", "/absent"):
        found = facts(script(cluster(), limit=5), HOME=str(tmp_path), HF_HOME=home)
        assert found.disks
        assert found.disks[0].free_kib > 0
