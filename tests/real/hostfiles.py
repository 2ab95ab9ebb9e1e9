"""The files of the test bed: keys, sshd_config, /etc files of each host, ssh config and cluster file."""

from __future__ import annotations

from pathlib import Path

from tests.real.netlab import Network, run

PASSWORD = "lab-password-of-this-test-bed"
PASSPHRASE = "lab-passphrase-of-this-test-bed"
UID = 4242

SSHD = """\
Port 22
HostKey {folder}/host_key
PidFile none
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
UseDNS no
Subsystem sftp internal-sftp
Match User lab
    PasswordAuthentication yes
"""


def keygen(path: Path, passphrase: str = "") -> str:
    """Make an ed25519 key pair; the public line."""
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", path.name, "-f", str(path))
    return path.with_suffix(".pub").read_text()


def write_host(folder: Path, name: str, hosts_file: str, authorized: str, tmp_size: str, gpus: int) -> str:
    """All files of one host; the public line of its host key."""
    etc, bin_ = folder / "etc", folder / "bin"
    etc.mkdir(parents=True)
    bin_.mkdir()
    (etc / "hosts").write_text(hosts_file)
    (etc / "hostname").write_text(f"{name}\n")
    (etc / "resolv.conf").write_text("")
    _accounts(etc)
    (folder / "authorized_keys").write_text(authorized)
    (folder / "tmp-size").write_text(tmp_size)
    (folder / "sshd_config").write_text(SSHD.format(folder=folder))
    stand_in = bin_ / "nvidia-smi"
    source = Path(__file__).with_name("nvidia_smi.sh").read_text()
    stand_in.write_text(source.replace("@GPUS@", str(gpus)))
    stand_in.chmod(0o755)
    return keygen(folder / "host_key")


def _accounts(etc: Path) -> None:
    """The machine's own accounts (sshd needs some of them), and ``lab``, who may use a password."""
    hashed = run("openssl", "passwd", "-6", "-stdin", stdin=PASSWORD).strip()
    passwd = _without(Path("/etc/passwd"), "lab", "root")
    names = [line.split(":")[0] for line in passwd]
    root = "root:x:0:0:root:/root:/bin/bash"
    (etc / "passwd").write_text(
        "\n".join([root, *passwd, f"lab:x:{UID}:{UID}:test bed:/home/lab:/bin/bash"]) + "\n"
    )
    shadow = [f"{name}:*:19000:0:99999:7:::" for name in ["root", *names]]
    (etc / "shadow").write_text("\n".join([*shadow, f"lab:{hashed}:19000:0:99999:7:::"]) + "\n")
    (etc / "shadow").chmod(0o600)
    (etc / "group").write_text("\n".join([*_without(Path("/etc/group"), "lab"), f"lab:x:{UID}:"]) + "\n")


def _without(path: Path, *names: str) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.split(":")[0] not in names]


def hosts_file(network: Network) -> str:
    """Every host knows the others by their fabric address, as a cluster's administrator would set it up."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    lines += [f"{network.fabric_ip(host)} node-{host}" for host in network.hosts]
    return "\n".join(lines) + "\n"


def known_hosts(network: Network, keys: dict[str, str]) -> str:
    """Each host under its name and both of its addresses."""
    lines = []
    for host, key in keys.items():
        kind, blob = key.split()[:2]
        names = f"node-{host},{network.management_ip(host)},{network.fabric_ip(host)}"
        lines.append(f"{names} {kind} {blob}")
    return "\n".join(lines) + "\n"


def ssh_config(
    network: Network, known: Path, identities: dict[str, Path], jump: dict[str, str], user: str
) -> str:
    """OpenSSH client settings: one alias a host. ``jump`` maps a host to the one it is reached through."""
    parts = []
    for host in network.hosts:
        lines = [f"Host node-{host}", f"    User {user}", f"    UserKnownHostsFile {known}"]
        address = network.fabric_ip(host) if host in jump else network.management_ip(host)
        lines.append(f"    HostName {address}")
        if host in identities:
            lines += [f"    IdentityFile {identities[host]}", "    IdentitiesOnly yes"]
        if host in jump:
            lines.append(f"    ProxyJump node-{jump[host]}")
        parts.append("\n".join(lines))
    return "\n".join(parts) + "\n"
