"""What milepost makes of an ssh config, held against `ssh -G`; what it does not follow."""

from __future__ import annotations

import asyncio
import getpass
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.requirements import require
from tests.helpers.ssh_help import Answers, lost, once, ran, transport_to
from tests.helpers.sshd import Bed
from wizard_steps.cluster.file import Ssh
from wizard_steps.model import Node
from wizard_steps.transport import ssh_config
from wizard_steps.transport.ssh_ask import NoAsker
from wizard_steps.transport.ssh_config import NO_SSH, Settings, Target, parse, read, tilde
from wizard_steps.transport.ssh_login import Limit, Login, OneAtATime
from wizard_steps.transport.ssh_options import known_hosts, login_options, wanted_keys
from wizard_steps.transport.ssh_unfollowed import unfollowed

USER = getpass.getuser()


@pytest.fixture(autouse=True)
def _openssh() -> None:
    require("" if shutil.which("ssh") else "needs OpenSSH's ssh (Debian: openssh-client)")


def by_ssh(config: Path, *words: str) -> dict[str, tuple[str, ...]]:
    """ssh's own answer."""
    done = subprocess.run(
        ["ssh", "-G", "-F", str(config), *words],
        capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return parse(done.stdout)


#: One configuration a line of the list; the host asked for is ``gpu-a`` unless the name says otherwise.
CONFIGS = {
    "nothing": "",
    "alias": "Host gpu-a\n  HostName 10.0.0.5\n  Port 2222\n  User me\n",
    "wildcard": "Host gpu-?\n  HostName %h.example\nHost *\n  User all\n",
    "negation": "Host * !gpu-a\n  User other\nHost gpu-a\n  User me\n",
    "first value wins": "Host gpu-*\n  Port 1111\nHost gpu-a\n  Port 2222\n",
    "trailing comment": "Host gpu-a\n  HostName 10.0.0.5 # fabric\n  Port 22922  # via nat\n",
    "equals": "Host gpu-a\n  HostName=10.0.0.5\n  Port = 2222\n  User =me\n",
    "quotes": 'Host "gpu-a"\n  User "me@corp"\n  IdentityFile "/tmp/with space/key"\n',
    "upper case words": "HOST gpu-a\n  HOSTNAME Fabric.Example\n  pOrT 99\n",
    "tabs and blanks": "\tHost\tgpu-a\n\n   \tPort\t2222\t\n",
    "match all": "Match all\n  Port 2222\n",
    "match host": "Match host gpu-*\n  User matched\n",
    "match originalhost": "Host gpu-a\n  HostName 10.0.0.5\nMatch originalhost gpu-a\n  Port 2222\n",
    "match host after hostname": "Host gpu-a\n  HostName 10.0.0.5\nMatch host 10.0.0.5\n  Port 2222\n",
    "match user": "Host gpu-a\n  User me\nMatch user me\n  Port 2222\n",
    "match localuser": f"Match localuser {USER}\n  Port 2222\n",
    "match exec": 'Match exec "test %n = gpu-a"\n  Port 2222\n',
    "match exec that fails": 'Match exec "false"\n  Port 2222\n',
    "match negated": "Match !host other\n  Port 2222\n",
    "match several": 'Match host gpu-a user me exec "true"\n  Port 1\nMatch host gpu-a\n  Port 2\n',
    "match final": "Match final host gpu-a\n  Port 2222\nHost gpu-a\n  User me\n",
    "match final after": "Host gpu-a\n  HostName 10.0.0.5\nMatch final\n  Port 2222\n",
    "match canonical": "CanonicalizeHostname no\nMatch canonical\n  Port 1\n",
    "include": "Include {folder}/more\nHost gpu-a\n  Port 3\n",
    "include pattern": "Include {folder}/mor*\n",
    "include inside host": "Host gpu-b\n  Include {folder}/more\n",
    "include nothing": "Include {folder}/none-*\nPort 5\n",
    "jump": "Host gpu-a\n  ProxyJump me@bastion:2222\n",
    "jump chain": "Host gpu-a\n  ProxyJump one,me@two:22,ssh://three\n",
    "jump ipv6": "Host gpu-a\n  ProxyJump [fe80::1]:2222\n",
    "jump none": "Host gpu-a\n  ProxyJump none\nHost *\n  ProxyJump bastion\n",
    "command": "Host gpu-a\n  ProxyCommand nc -x 127.0.0.1:1080 %h %p\n",
    "command before jump": "ProxyCommand nc %h %p\nProxyJump bastion\n",
    "jump before command": "ProxyJump bastion\nProxyCommand nc %h %p\n",
    "key": "IdentityFile ~/.ssh/work\nIdentityFile /tmp/other\nIdentitiesOnly yes\n",
    "key with tokens": "IdentityFile ~/.ssh/%h-%r-%%\nUser me\n",
    "certificate": "CertificateFile ~/.ssh/%u-cert.pub\n",
    "agent": "IdentityAgent ~/agent.sock\n",
    "agent by name": "IdentityAgent SSH_AUTH_SOCK\n",
    "agent none": "IdentityAgent none\n",
    "host key alias": "HostKeyAlias pool\n",
    "known hosts": "UserKnownHostsFile /tmp/a /tmp/b\nGlobalKnownHostsFile /tmp/c\n",
    "family": "AddressFamily inet6\nBindAddress 127.0.0.1\n",
    "algorithms": "Ciphers aes256-ctr\nMACs hmac-sha2-256\nKexAlgorithms curve25519-sha256\n",
    "algorithms taken away": "Ciphers -chacha20*\nKexAlgorithms ^ecdh-sha2-nistp256\nMACs +hmac-sha1\n",
    "host key algorithms": "HostKeyAlgorithms ssh-ed25519\n",
    "logins": "PubkeyAuthentication no\nPasswordAuthentication no\nPreferredAuthentications password\n",
    "compression": "Compression yes\nTCPKeepAlive no\n",
    "unknown but ignored": "IgnoreUnknown Foo*\nFooBar yes\nPort 2222\n",
    "control master": "ControlMaster auto\nControlPath ~/.ssh/%C\nControlPersist 10m\n",
}


def write(folder: Path, text: str) -> Path:
    (folder / "more").write_text("Host gpu-a\n  Port 2222\n  User included\n")
    config = folder / "config"
    config.write_text(text.replace("{folder}", str(folder)))
    return config


@pytest.mark.parametrize("kind", CONFIGS)
async def test_each_kind_is_read_as_ssh_reads_it(tmp_path: Path, kind: str) -> None:
    config = write(tmp_path, CONFIGS[kind])
    wanted = by_ssh(config, "gpu-a")
    got = await read(Target("gpu-a"), Ssh(config=str(config)))
    assert_same(got, wanted)


def options_of(got: Settings) -> dict[str, object]:
    ssh = Ssh(config="none")
    hosts = known_hosts(got, ssh)
    login = Login(Node(name="n", host="h"), hosts, (), OneAtATime(NoAsker()), Limit(1), {}, "")
    return login_options(got, hosts, login, ssh)


def assert_same(got: Settings, wanted: dict[str, tuple[str, ...]]) -> None:
    """Every option that milepost hands to its SSH library, beside ssh's own value."""

    def one(name: str) -> str:
        return wanted.get(name, ("",))[0]

    options = options_of(got)
    assert (got.host, options["port"], options["username"]) == (
        one("hostname"),
        int(one("port")),
        one("user"),
    )
    assert (options["host_key_alias"] or "") == one("hostkeyalias")
    family = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(one("addressfamily"))
    assert options.get("family") == family
    assert options.get("local_addr") == ((one("bindaddress"), 0) if "bindaddress" in wanted else None)
    for option, name in (("public_key", "pubkey"), ("password", "password"), ("kbdint", "kbdinteractive")):
        assert options[f"{option}_auth"] == (one(f"{name}authentication") in ("yes", "true"))
    assert ("compression_algs" in options) == (one("compression") == "yes")
    assert ",".join(options.get("preferred_auth", ())) == one("preferredauthentications")  # type: ignore[arg-type]
    for option, name in (("encryption_algs", "ciphers"), ("kex_algs", "kexalgorithms"), ("mac_algs", "macs")):
        if name in got.configured:
            ours = [word for word in one(name).split(",") if word in options[option]]  # type: ignore[operator]
            assert options[option] == ours
            assert ours
    command = one("proxycommand").replace("%h", got.host).replace("%p", str(got.port))
    assert options.get("proxy_command", [""])[-1].removesuffix("\nexit $?") == command  # type: ignore[index]
    assert got.one("proxyjump") == one("proxyjump")
    assert_same_keys(got, wanted)


def assert_same_keys(got: Settings, wanted: dict[str, tuple[str, ...]]) -> None:
    keys = wanted_keys(got, Ssh(config="none"), jump=False)
    listed = [
        tilde(value.replace("%h-%r-%%", f"{got.host}-{got.user}-%")) for value in wanted["identityfile"]
    ]
    ours = [str(path) for path in keys.files]
    assert ours == (listed if keys.explicit else [path for path in ours if path in listed])
    assert keys.only_these == (wanted["identitiesonly"] == ("yes",))
    assert list(keys.certificates) == [
        tilde(value.replace("%u", USER)) for value in wanted.get("certificatefile", ())
    ]
    agent = wanted.get("identityagent", ("",))[0]
    if agent not in ("SSH_AUTH_SOCK", ""):
        assert keys.agent == ("" if agent == "none" else agent)
    files = [str(path) for path in known_hosts(got, Ssh(config="none")).files]
    for name in ("userknownhostsfile", "globalknownhostsfile"):
        if name in got.configured:
            assert [path for path in wanted[name][0].split() if path not in files] == []


HOSTS = st.sampled_from(["gpu-a", "gpu-*", "gpu-?", "*", "!gpu-a *", "other gpu-a", "OTHER"])
CONDITIONS = st.sampled_from(
    [
        "all",
        "host gpu-*",
        "originalhost gpu-a",
        "user me",
        "final",
        "exec true",
        "!exec true",
        "!host x user *",
    ]
)
LINES = st.sampled_from(
    [
        "HostName 10.0.0.5", "HostName %h.example", "Port 2222", "Port=22", "User me", 'User "them"',
        "ProxyJump a,b@c:22", "ProxyJump none", "ProxyCommand nc %h %p", "IdentityFile ~/.ssh/one",
        'IdentityFile "/tmp/a b"', "IdentitiesOnly yes", "HostKeyAlias %h", "AddressFamily inet",
        "BindAddress 127.0.0.1", "Ciphers aes128-ctr", "Compression yes", "# a comment", "", "Port 23 # why",
        "PasswordAuthentication no", "UserKnownHostsFile /tmp/x /tmp/y", "CertificateFile /tmp/c",
    ]
)  # fmt: skip
HEADS = st.one_of(HOSTS.map("Host {}".format), CONDITIONS.map("Match {}".format))
BLOCKS = st.tuples(HEADS, st.lists(LINES, max_size=5)).map(lambda block: "\n  ".join([block[0], *block[1]]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES, max_size=3), st.lists(BLOCKS, max_size=4))
def test_any_composition_is_read_as_ssh_reads_it(tmp_path: Path, top: list[str], blocks: list[str]) -> None:
    config = write(tmp_path, "\n".join([*top, *blocks]) + "\n")

    async def compare() -> None:
        assert_same(await read(Target("gpu-a"), Ssh(config=str(config))), by_ssh(config, "gpu-a"))

    asyncio.run(compare())


async def test_the_cluster_file_comes_before_the_config(tmp_path: Path) -> None:
    config = write(tmp_path, "Port 1\nUser other\nMatch user me\n  HostName matched\n")
    got = await read(Target("gpu-a", "me", 2222), Ssh(config=str(config)))
    assert (got.host, got.port, got.user) == ("matched", 2222, "me")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hostnme x\n", "Bad configuration option: hostnme"),
        ("Host a\n  Port twenty-two\n", "line 2: Bad port"),
        ("Match exec\n", "line 1"),
        ("IdentityFile ${MILEPOST_NOT_SET}/key\n", "MILEPOST_NOT_SET"),
        ("Host *\n  ProxyCommand nc %q\n", "%q"),
    ],
)
async def test_what_ssh_refuses_is_refused_in_its_words(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        await read(Target("a"), Ssh(config=str(write(tmp_path, text))))


async def test_the_default_config_leaves_the_machines_config_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """With -F ssh reads no /etc/ssh/ssh_config, so it is not given for ~/.ssh/config."""
    asked: list[list[str]] = []

    async def ask(_program: str, words: list[str], _host: str) -> str:
        asked.append(list(words))
        return "hostname x\nport 22\nuser me\n"

    monkeypatch.setattr(ssh_config, "_ask", ask)
    monkeypatch.setattr(ssh_config, "_defaults", {})
    await read(Target("x"), Ssh())
    assert asked == [[], ["-F", "none"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("StrictHostKeyChecking no\n", "StrictHostKeyChecking no"),
        ("StrictHostKeyChecking accept-new\n", "StrictHostKeyChecking accept-new"),
        ("UserKnownHostsFile /dev/null\n", "UserKnownHostsFile /dev/null"),
        ("KnownHostsCommand /usr/bin/true %H\n", "KnownHostsCommand"),
        ("HostbasedAuthentication yes\n", "HostbasedAuthentication"),
        ("VerifyHostKeyDNS yes\n", "VerifyHostKeyDNS"),
        ("SetEnv A=b\n", "SetEnv"),
        ("RevokedHostKeys /tmp/none\n", "RevokedHostKeys"),
        ("PKCS11Provider /usr/lib/none.so\n", "PKCS11Provider"),
        ("PubkeyAcceptedAlgorithms ssh-ed25519\n", "PubkeyAcceptedAlgorithms"),
        ("NoHostAuthenticationForLocalhost yes\n", "NoHostAuthenticationForLocalhost"),
    ],
)
async def test_what_is_not_followed_is_named(tmp_path: Path, text: str, words: str) -> None:
    ssh = Ssh(config=str(write(tmp_path, text)))
    (said,) = unfollowed(await read(Target("gpu-a"), ssh), ssh)
    assert said.startswith(words)
    assert "not followed" in said


@pytest.mark.parametrize("kind", CONFIGS)
async def test_what_is_followed_is_not_named(tmp_path: Path, kind: str) -> None:
    ssh = Ssh(config=str(write(tmp_path, CONFIGS[kind])))
    assert unfollowed(await read(Target("gpu-a"), ssh), ssh) == []


async def test_a_config_is_named_once_by_the_commands_that_ask_for_it(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd()
    ssh_bed.config.touch()
    ssh_bed.config.write_text("StrictHostKeyChecking no\n")
    cluster = ssh_bed.cluster(server.port)
    async with transport_to(cluster) as transport:
        told = await ran(transport, cluster.head, "true", login=True)
        later = await ran(transport, cluster.head, "true")
    assert told.exit.detail.startswith("StrictHostKeyChecking no of the ssh config is not followed")
    assert later.exit.detail == ""


async def test_strict_checking_refuses_an_unknown_key_without_a_question(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd(known=False)
    ssh_bed.config.write_text("StrictHostKeyChecking yes\n")
    asker = Answers(trust=True)
    lost(await once(ssh_bed.cluster(server.port), asker), "not on record")
    assert asker.asked == []


async def test_a_proxy_command_is_run_by_a_shell(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd()
    jump = ssh_bed.sshd()
    ssh_bed.config.write_text(
        f"Host inner\n  HostName 127.0.0.1\n  Port {server.port}\n  ProxyCommand ssh -F none -q -o "
        f"UserKnownHostsFile={ssh_bed.known_hosts} -i {ssh_bed.user_key} -p {jump.port} 127.0.0.1 -W %h:%p "
        "2>/dev/null\n"
    )
    result = await once(ssh_bed.cluster(), node=Node(name="n", host="inner"))
    assert result.exit.detail == ""
    assert result.output == b"in\n"
    assert (jump.logins, server.logins) == (1, 1)


# --- without OpenSSH ---------------------------------------------------------------------------------

#: What asyncssh reads otherwise than ssh, and why: it is only asked where no ssh is installed.
OTHERWISE = {
    "trailing comment": "refused",
    "match exec": "tokens of the command are not expanded",
    "match final": "not applied",
    "match final after": "not applied",
    "jump chain": "written otherwise",
    "jump ipv6": "written otherwise",
    "jump": "written otherwise",
    "algorithms taken away": "patterns are not expanded",
    "upper case words": "the host's name keeps its capitals",
}


@pytest.mark.parametrize("kind", sorted(set(CONFIGS) - set(OTHERWISE)))
async def test_without_ssh_asyncssh_reads_the_config(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(tmp_path, CONFIGS[kind])
    wanted = by_ssh(config, "gpu-a")
    monkeypatch.setattr("shutil.which", lambda _name: None)
    got = await read(Target("gpu-a"), Ssh(config=str(config)))
    assert got.notes == (NO_SSH,)
    assert (got.host, str(got.port), got.user) == tuple(wanted[x][0] for x in ("hostname", "port", "user"))


@given(st.text(max_size=300))
def test_any_answer_is_parsed(text: str) -> None:
    for name, values in parse(text).items():
        assert name == name.lower()
        assert values
