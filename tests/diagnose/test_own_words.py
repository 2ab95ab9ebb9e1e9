"""What milepost itself says when a machine cannot be reached is known to the diagnosis, in its current wording."""

from __future__ import annotations

import errno

import asyncssh
import pytest

from wizard_steps.cluster.file import Ssh
from wizard_steps.diagnose import Source, diagnose
from wizard_steps.transport import ssh_errors
from wizard_steps.transport.ssh_errors import HopPlace

SSH = Ssh()
DIRECT = HopPlace("gpu-b", "10.0.0.5", 22, "me")
JUMPED = HopPlace("gpu-b", "10.0.0.5", 22, "me", "bastion")
KEY = asyncssh.generate_private_key("ssh-ed25519")


def explained(error: BaseException, place: HopPlace = DIRECT) -> str:
    return str(ssh_errors.explain(error, place, SSH))


SAID = {
    "wizard-refused": explained(OSError(errno.ECONNREFUSED, "refused")),
    "wizard-no-answer": explained(TimeoutError()),
    "wizard-no-route": explained(OSError(errno.EHOSTUNREACH, "no route")),
    "wizard-hung-up": explained(asyncssh.ConnectionLost("lost")),
    "wizard-reset": explained(OSError(errno.ECONNRESET, "reset")),
    "wizard-jump-host": explained(asyncssh.ChannelOpenError(2, "Connection refused"), JUMPED),
    "wizard-login-refused": str(
        ssh_errors.refused_login(DIRECT, SSH, ["publickey"], ["key file /home/me/.ssh/id_rsa"], [], False)
    ),
    "wizard-host-key": str(ssh_errors.untrusted(DIRECT, SSH, KEY)),
    "ssh-host-key-changed": str(ssh_errors.changed(DIRECT, "gpu-b", 22, [], KEY)),
}
#: Two ways of saying it that have one rule.
SAME = {"wizard-no-route": "wizard-no-answer", "wizard-reset": "wizard-hung-up"}


@pytest.mark.parametrize("wanted", SAID)
def test_every_message_has_its_rule(wanted: str) -> None:
    found = diagnose([Source("reach", SAID[wanted])])
    assert found
    assert found[0].rule == SAME.get(wanted, wanted)
    assert "No rule" not in found[0].cause
