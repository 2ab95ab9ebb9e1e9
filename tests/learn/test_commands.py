"""Every command that a user can read can be pasted: its shell syntax, its program, milepost's and vLLM's own
options, and no word left open that milepost knows."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache

import pytest

from tests.helpers.readable import ROOT, Command, commands
from tui.cli.main import build, with_default_command


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Programs that a text may name: of the system, the driver, RDMA, containers, Python, Ray, vLLM and the hub.
PROGRAMS = words_of("""
    apt-mark git xpu-smi lsblk nmcli od resolvectl visudo wget
    [ apptainer apt apt-cache aws containerd sinfo slurmd apt-get ausearch awk bash cat cd chage chmod chown command conda cp crictl curl cut date df dirname dkms dmesg dnf dpkg
    docker du echo env enroot ethtool exec exit export fi_info find findmnt for free fuser gcc getenforce getent grep hash hccn_tool head helm hf
    hostname ib_write_bw ibdev2netdev ibstat ibv_devices ibv_devinfo id if ip ipcs iperf3 iptables journalctl
    kill kubectl last ldconfig ldd less loginctl ls lsmod lsof lspci milepost mkdir modinfo modprobe mokutil mount mpirun munge mv namei nc ncclras
    newuidmap nft nginx nohup nproc nv-fabricmanager nvcc nvidia-container-cli nvidia-container-runtime nvidia-ctk nvidia-imex-ctl nvidia-smi
    nvshmem-info ofed_info ompi_info openssl pasta pgrep ptxas ping pip podman printf ps py-spy
    python python3 python3-config ray rdma readlink rm rocm-smi rocminfo rmdir rsync runc sacct sacctmgr scontrol squeue scp sed sh sha256sum show_gids sort srun
    ss ssh ssh-add ssh-copy-id ssh-keygen ssh-keyscan sshd stat su sudo sync sysctl systemctl systemd-detect-virt tail taskset tee test
    timedatectl timeout touch tr true type ucx_info ufw ulimit umount uname uniq unmunge unset update-initramfs uptime usermod uv
    vllm wc which wsl xargs zcat
    kubeadm kubelet swapoff swapon
    caddy conda etcdctl haproxy
""")
#: Between backquotes, and no command though it looks like one.
PHRASES = re.compile(
    r"from __future__|gpus = |host = |role = |title = |head \S+ |output |path |handle |one |labels: |port |"
    r"timeout (client|server|connect) |"
    r"environment:|location |reverse_proxy |ibv_reg_mr |Check failed|if __name__|Subsystem "
)
RAY = words_of("start stop status list summary memory health-check logs get get-auth-token symmetric-run")
DOCKER = words_of("""
    build builder commit compose container context cp events exec export image images info inspect kill load login logout logs manifest network
    pause ps pull push rename restart rm run save start stats stop system tag top unpause update version volume
""")
#: Words that milepost itself fills in where it knows the cluster (see diagnose/blanks.py).
OPEN = re.compile(r"(?<![\w$.{-])(?:HEAD_IP|HEAD|WORKER_IP|PORT|VENV|MODEL|USER|IMAGE)(?![\w=}])")
_WRAPPERS = words_of("""
    ! command do done env exec fi if nohup sudo then timeout { }
""")


def first_words(line: str) -> Iterator[list[str]]:
    """The words of each simple command of a line, from its program on."""
    while inner := re.search(r"\$\(([^()]*)\)", line):
        yield from first_words(inner[1])
        line = line[: inner.start()] + "8" + line[inner.end() :]
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&()<>")
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    redirect = False
    for word in [*lexer, ";"]:
        if re.fullmatch(r"[;|&()]+", word):
            if words := _from_program(words):
                yield words
            words = []
        elif re.fullmatch(r"\d?[<>]+&?", word):
            redirect = True
        elif redirect:
            redirect = False
        else:
            words.append(word)


def _from_program(words: list[str]) -> list[str]:
    while words and (words[0] in _WRAPPERS or re.match(r"-|\w+=|\d+$", words[0])):
        words = words[1:]
    return words


def pasted(one: Command) -> str:
    """With something for every blank: of rules ({name}, {name|WORD}), of texts ({{name}})."""
    line = one.line if one.quoted else re.split(r"\s{3,}", one.line)[0]
    return re.sub(r"\{\{\w+\}\}|\{\w+(\|[^{}]*)?\}|…", "8", line)


def is_command(one: Command) -> bool:
    """Of the rules all are. Elsewhere what begins with a program and has more than that word; between
    backquotes what only looks like one has to be a phrase that is known."""
    if PHRASES.match(one.line):
        return False
    if "/rules/" in one.place:
        return not re.match(r"[\w.]+$|\S+ = |--?\w|[A-Z_]+=\S*$|\W", one.line)
    found = re.match(r"(?:sudo (?:-n )?)?([a-z][a-z0-9_-]*)\s+\S", one.line)
    return bool(found and (one.quoted or found[1] in PROGRAMS))


@cache
def all_commands() -> list[Command]:
    """Read when a test asks: each process of a parallel run collects this file."""
    return [one for one in commands() if is_command(one)]


def test_there_are_commands_of_every_kind() -> None:
    places = " ".join(one.place for one in all_commands())
    for room in ("expected", "help", "course", "walks", "rules", "milestones", "facts", "transport", "tui/"):
        assert room in places
    assert len(all_commands()) > 400


def test_the_shell_can_read_all_of_them() -> None:
    script = "".join(f"f{n}() {{\n{pasted(one)}\n}}\n" for n, one in enumerate(all_commands()))
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    lines = [int(number) for number in re.findall(r"line (\d+)", done.stderr)]
    assert done.returncode == 0, [
        all_commands()[min(len(all_commands()), max(1, (n + 1) // 3)) - 1] for n in lines
    ]


@pytest.mark.parametrize("room", ["snapshots", "tui", "wizard_steps"])
def test_every_program_is_known(room: str) -> None:
    unknown = [
        (words[0], one)
        for one in all_commands()
        if one.place.startswith(room) or (room == "snapshots" and "/" not in one.place)
        for words in first_words(pasted(one))
        if words[0].rsplit("/", 1)[-1] not in PROGRAMS
    ]
    assert unknown == []


def of(program: str) -> Iterator[tuple[list[str], Command]]:
    for one in all_commands():
        for words in first_words(pasted(one)):
            if words[0].rsplit("/", 1)[-1] == program and len(words) > 1:
                yield words[1:], one


def test_milepost_knows_its_own_commands(capsys: pytest.CaptureFixture[str]) -> None:
    parser, names = build()
    for words, one in of("milepost"):
        if words[0] in ("help", "milepost") or words[-1] in ("--help", "-h"):
            continue
        try:
            parser.parse_args(with_default_command(words, names))
        except SystemExit:
            # A sentence may name a command without saying all that it needs.
            error = capsys.readouterr().err
            assert re.search(r"arguments are required|expected (?:at least )?one", error), f"{one}: {error}"


def test_ray_and_docker_have_these_commands() -> None:
    wrong = [one for words, one in of("ray") if words[0] not in RAY and not words[0].startswith("-")]
    wrong += [one for words, one in of("docker") if words[0] not in DOCKER and not words[0].startswith("-")]
    assert wrong == []


def test_vllm_serve_has_these_flags() -> None:
    data = tomllib.loads((ROOT / "wizard_steps/cluster/vllm_flags.toml").read_text(encoding="utf-8"))
    flags = {
        name for group in data.values() if isinstance(group, list) for line in group for name in line.split()
    }
    for words, one in of("vllm"):
        if words[0] == "serve":
            used = {word.partition("=")[0] for word in words if word.startswith("-")}
            assert used <= flags | {"--help", "--help=all", "-h"}, one


def test_ray_stop_never_stands_without_its_warning() -> None:
    """As root it ends the Ray of everybody on the machine."""
    for path in sorted((ROOT / "wizard_steps/diagnose/rules").glob("*.toml")):
        for rule in tomllib.loads(path.read_text(encoding="utf-8")).get("rule", ()):
            for action in (*rule.get("try", ()), *rule.get("fixes", ())):
                if re.search(r"\bray stop\b", action.get("command", "")):
                    assert "as root" in action["text"], f"{path.name}: {rule['id']}: {action}"


def test_no_word_is_left_open_that_is_known() -> None:
    assert [one for one in all_commands() if one.filled and OPEN.search(one.line)] == []


@pytest.mark.parametrize(
    ("line", "programs"),
    [
        ("sudo -n docker ps | grep x; ss -ltnp 2>&1", ["docker", "grep", "ss"]),
        ("NCCL_DEBUG=INFO timeout 5 bash -c 'a; b' && echo open", ["bash", "echo"]),
        ("ls /x >/dev/null || exit 1", ["ls", "exit"]),
    ],
)
def test_the_programs_of_a_line_are_found(line: str, programs: list[str]) -> None:
    assert [words[0] for words in first_words(line)] == programs
