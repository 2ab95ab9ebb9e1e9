"""Where vLLM's API answers: plain HTTP, or HTTPS where vLLM itself has a certificate (--ssl-certfile)."""

from __future__ import annotations

from wizard_steps.cluster.flags import parse
from wizard_steps.cluster.values import Cluster

#: Hosts that mean every address of the machine: nobody connects to them.
EVERYWHERE = ("0.0.0.0", "::", "")
_TLS = ("--ssl-certfile", "--ssl-keyfile")


def tls(cluster: Cluster) -> bool:
    """Whether vLLM speaks HTTPS. Source: uvicorn's Config.is_ssl."""
    flags = cluster.serve.extra_flags
    return any("ssl" in word for word in flags) and any(flag.name in _TLS for flag in parse(flags))


def own_host(cluster: Cluster) -> str:
    """The address at which the server's own machine reaches it."""
    host = cluster.serve.host
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def listens(cluster: Cluster, elsewhere: str) -> str:
    """The one address that the API listens on; ``elsewhere`` where it listens on all."""
    return elsewhere if cluster.serve.host in EVERYWHERE else cluster.serve.host


def base_url(cluster: Cluster, host: str, port: int = 0) -> str:
    """``https://[HOST]:PORT`` without a path; ``port`` where it is not the API's own (a tunnel)."""
    scheme = "https" if tls(cluster) else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port or cluster.serve.port}"


def curl_words(url: str) -> tuple[str, ...]:
    """For curl on the server itself: no proxy, and no certificate is checked. The request never leaves that
    machine, and the certificate is for the name that clients use (milestones/certificate.py judges it)."""
    return ("--noproxy", "*", *(("-k",) if url.startswith("https:") else ()))


def through_tunnel(cluster: Cluster, port: str) -> str:
    """The options that lead our own clients through an SSH tunnel. It ends on the very machine that ssh has
    verified; a certificate is for another name than 127.0.0.1."""
    scheme, more = ("https", " --no-verify") if tls(cluster) else ("http", "")
    return f"--base-url {scheme}://127.0.0.1:{port}/v1{more}"
