"""Options of the ssh config that milepost does not follow, and what that means."""

from __future__ import annotations

from wizard_steps.cluster.file import Ssh
from wizard_steps.transport.ssh_config import Settings

#: Followed: by ssh -G itself (the host's name), by the login, or by the cluster file's own fields.
_FOLLOWED = """
    host hostname port user addressfamily bindaddress ciphers macs kexalgorithms hostkeyalgorithms
    compression identityfile certificatefile identityagent identitiesonly hostkeyalias
    globalknownhostsfile proxycommand proxyjump pubkeyauthentication passwordauthentication
    kbdinteractiveauthentication challengeresponseauthentication preferredauthentications tcpkeepalive
    canonicaldomains canonicalizefallbacklocal canonicalizehostname canonicalizemaxdots
    canonicalizepermittedcnames ignoreunknown include match tag
"""

#: Without a meaning for commands that run without a terminal, over one connection to each node.
_NEEDLESS = """
    addkeystoagent batchmode checkhostip clearallforwardings connectionattempts connecttimeout
    controlmaster controlpath controlpersist dynamicforward enableescapecommandline enablesshkeysign
    escapechar exitonforwardfailure fingerprinthash forkafterauthentication forwardagent forwardx11
    forwardx11timeout forwardx11trusted gatewayports hashknownhosts hostbasedacceptedalgorithms ipqos
    kbdinteractivedevices localcommand localforward loglevel logverbose numberofpasswordprompts
    obscurekeystroketiming permitlocalcommand permitremoteopen refuseconnection remotecommand
    remoteforward requesttty requiredrsasize sendenv serveralivecountmax serveraliveinterval sessiontype
    stdinnull streamlocalbindmask streamlocalbindunlink syslogfacility tunnel tunneldevice
    updatehostkeys usekeychain visualhostkey xauthlocation rekeylimit versionaddendum warnweakcrypto
    channeltimeout securitykeyprovider gssapidelegatecredentials gssapikeyexchange gssapikexalgorithms
    gssapirenewalforcesrekey gssapitrustdns gssapiclientidentity gssapiserveridentity
    gssapiauthentication
"""

_LEFT_OUT = frozenset(f"{_FOLLOWED} {_NEEDLESS} stricthostkeychecking userknownhostsfile".split())

#: Their spelling, and what follows from it.
_KNOWN = {
    "bindinterface": ("BindInterface", "connections leave by the interface the system chooses"),
    "casignaturealgorithms": (
        "CASignatureAlgorithms",
        "certificates of the usual types are taken",
    ),
    "hostbasedauthentication": ("HostbasedAuthentication", "keys and passwords are tried"),
    "knownhostscommand": ("KnownHostsCommand", "host keys are looked up in files only"),
    "nohostauthenticationforlocalhost": (
        "NoHostAuthenticationForLocalhost",
        "the host keys of localhost are verified as well",
    ),
    "pkcs11provider": ("PKCS11Provider", "keys on a smart card are used through ssh-agent only"),
    "proxyusefdpass": ("ProxyUseFdpass", "a ProxyCommand has to carry the connection itself"),
    "pubkeyacceptedalgorithms": ("PubkeyAcceptedAlgorithms", "keys of every type are offered"),
    "pubkeyacceptedkeytypes": ("PubkeyAcceptedKeyTypes", "keys of every type are offered"),
    "revokedhostkeys": ("RevokedHostKeys", "only @revoked lines of known_hosts files count"),
    "setenv": ("SetEnv", "the commands on the nodes do not get these variables"),
    "verifyhostkeydns": ("VerifyHostKeyDNS", "host keys are looked up in files only"),
}


#: Said of a login that was refused: with the right tickets ssh may get in.
KERBEROS = "GSSAPI (Kerberos), which the ssh config turns on and milepost does not do"


def unfollowed(settings: Settings, ssh: Ssh) -> list[str]:
    """One sentence for each option that is set for this host and not followed."""
    found = [*_strictness(settings), *_records(settings, ssh)]
    for name in sorted(set(settings.configured) - _LEFT_OUT):
        if settings.is_none(name) or settings.one(name).lower() in ("no", "false"):
            continue
        spelt, effect = _KNOWN.get(name, (name, ""))
        found.append(f"{spelt} of the ssh config is not followed" + (f": {effect}" if effect else ""))
    return found


def uses_kerberos(settings: Settings) -> bool:
    """Whether ssh would try GSSAPI, which milepost cannot."""
    return settings.yes("GSSAPIAuthentication", False)


def strict(settings: Settings) -> bool:
    """StrictHostKeyChecking yes: an unknown host key is refused, and nobody is asked."""
    return settings.one("StrictHostKeyChecking").lower() in ("yes", "true")


def _strictness(settings: Settings) -> list[str]:
    value = settings.one("StrictHostKeyChecking").lower()
    if value not in ("no", "off", "false", "accept-new"):
        return []
    shown = "no" if value in ("off", "false") else value
    return [
        f"StrictHostKeyChecking {shown} of the ssh config is not followed: a host key that is not on record "
        "is asked about, and refused where nobody can answer"
    ]


def _records(settings: Settings, ssh: Ssh) -> list[str]:
    if "/dev/null" not in " ".join(settings.all("UserKnownHostsFile")).split():
        return []
    return [
        "UserKnownHostsFile /dev/null of the ssh config is not followed: accepted host keys are recorded in "
        f"{ssh.known_hosts}"
    ]
