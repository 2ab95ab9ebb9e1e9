"""Asks the machines of a set-up form over SSH what they have. Reads only."""

from __future__ import annotations

from msgspec.structs import replace

from tui.app.desk import Desk, Front
from wizard_steps.cluster.file import Cluster
from wizard_steps.facts.gather import gather
from wizard_steps.facts.setup import SetUp, seen
from wizard_steps.recording.redact import Redactor


async def look_at(cluster: Cluster, front: Front) -> SetUp:
    """For both paths: which one the machines are ready for is one of the questions. Raises MilepostError."""
    from wizard_steps.transport.cleaned import Cleaned
    from wizard_steps.transport.ssh import SshTransport

    redactor = Redactor.from_environment()
    transport = Cleaned(SshTransport(cluster, Desk(front, redactor)), redactor)
    try:
        host = await gather(transport, replace(cluster, path="bare-metal"))
        docker = await gather(transport, replace(cluster, path="docker"))
    finally:
        await transport.close()
    facts = {name: replace(one, docker=docker[name].docker) for name, one in host.items()}
    return seen(facts, cluster)
