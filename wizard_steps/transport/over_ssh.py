"""The nodes of a cluster file, for commands that ask nobody. SSH is loaded with the first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.transport import Transport
from wizard_steps.recording.redact import Redactor

if TYPE_CHECKING:
    from wizard_steps.transport.ssh import SshTransport


def bare(cluster: Cluster) -> SshTransport:
    """SSH alone, for tunnels. Nobody is asked for host keys, passwords, passphrases. The caller closes it."""
    from wizard_steps.transport.ssh import SshTransport
    from wizard_steps.transport.ssh_ask import NoAsker

    return SshTransport(cluster, NoAsker())


def cleaned(cluster: Cluster) -> Transport:
    """The same for commands: the environment's secrets go in on standard input and come out redacted."""
    from wizard_steps.transport.cleaned import Cleaned
    from wizard_steps.transport.secrets import WithSecrets

    return Cleaned(WithSecrets(bare(cluster)), Redactor.from_environment())
