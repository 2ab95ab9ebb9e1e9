"""The certificate of a vLLM that speaks HTTPS itself: for which names, until when, and who trusts it."""

from __future__ import annotations

import re
import shlex

from wizard_steps.cluster.api import base_url, listens, tls
from wizard_steps.engine.step import Known
from wizard_steps.milestones.common import failure
from wizard_steps.model import Check, Cmd, Result
from wizard_steps.node.lines import fields, plain

KEY = "certificate"
#: The fact for the hand-over: the names that clients may use, and whether they trust it as they are.
NAMES, TRUSTED = "tls_names", "tls_trusted"
#: Seconds before its end from which a certificate is told to end soon: two weeks.
_SOON = 14 * 86400
_NAME = re.compile(r"(?:DNS|IP Address):([A-Za-z0-9.:*_-]{1,253})")
_SHOWN = 8


def look(known: Known) -> Cmd | None:
    """What openssl says of it, asked on the server; None where vLLM speaks plain HTTP."""
    if not tls(known.cluster):
        return None
    host = listens(known.cluster, known.ip(known.server))
    at = shlex.quote(base_url(known.cluster, host).partition("//")[2])
    text = (
        "command -v openssl >/dev/null 2>&1 || { echo 'openssl: not found'; exit 127; }\n"
        f"s=$(openssl s_client -connect {at} </dev/null 2>/dev/null)\n"
        'of() { printf \'%s\\n\' "$s" | openssl x509 -noout "$@" 2>/dev/null; }\n'
        "printf '%s\\n' \"$s\" | sed -n 's/^ *Verify return code: */verify: /p' | head -n 1\n"
        "echo \"names: $(of -ext subjectAltName | tr '\\n' ' ')\"\n"
        'echo "until: $(of -enddate | cut -d= -f2)"\n'
        f"of -checkend 0 >/dev/null && echo now: valid; of -checkend {_SOON} >/dev/null && echo soon: valid\n"
        "exit 0\n"
    )
    show = f"openssl s_client -connect {at} | openssl x509 -noout -ext subjectAltName -enddate"
    return Cmd(KEY, text, timeout=30, show=show)


def names(result: Result | None) -> list[str]:
    """The names and addresses that the certificate is for."""
    text = fields(result.text).get("names", "") if result is not None and result.ok else ""
    return list(dict.fromkeys(_NAME.findall(text[:65536])))


def trusted(result: Result | None) -> bool:
    """Whether the server's own machine trusts who signed it; others have mostly the same list."""
    return result is not None and result.ok and fields(result.text).get("verify", "").startswith("0 ")


def check(known: Known, result: Result | None) -> Check:
    """One that has ended fails: no client would go on."""
    node, wanted = known.server.name, "valid, for the names that clients use, and trusted"
    if result is None or not result.ok:
        why = failure(result, known.server).found
        return Check(KEY, True, f"not proved: {why}", wanted, node, warning=True)
    found, of = fields(result.text), names(result)
    if not found.get("until"):
        return Check(KEY, True, "not proved: openssl read none", wanted, node, warning=True)
    more = f" and {len(of) - _SHOWN} more" if len(of) > _SHOWN else ""
    said = f"for {', '.join(of[:_SHOWN]) or 'no name at all'}{more}, until {plain(found['until'])[:40]}"
    hint = "give vLLM another certificate, and start it again"
    if found.get("now") != "valid":
        return Check(KEY, False, f"{said}: it has ended, or has not begun", wanted, node, hint)
    if not trusted(result):
        why = re.sub(r"^\d{1,4} \((.*)\)$", r"\1", plain(found.get("verify", "openssl did not say why"))[:80])
        said += f"; not trusted by this machine: {why}"
        hint = "clients need it as well: curl --cacert, SSL_CERT_FILE (Python), NODE_EXTRA_CA_CERTS (Node.js)"
    elif found.get("soon") != "valid":
        said += "; it ends within two weeks"
    elif of:
        return Check(KEY, True, said, wanted, node)
    return Check(KEY, True, said, wanted, node, hint, warning=True)
