"""An engine's own words, and what to do about them."""

from __future__ import annotations

import re


def hint(text: str) -> str:
    """What to do about an engine's own words, or nothing."""
    return next((words for pattern, words in _HINTS if re.search(pattern, text, re.IGNORECASE)), "")


_HINTS = (
    (
        r"permission denied.*(docker|sock)|docker.*permission denied",
        "this user may not use the engine: `sudo usermod -aG docker USER` and log in again, "
        'or set docker.command = "sudo -n docker"',
    ),
    (
        r"cannot connect to the docker daemon|is the docker daemon running",
        "the engine does not run: `sudo systemctl start docker`; or a docker client without an engine comes "
        "first in PATH: set docker.command to the right one's full path",
    ),
    (
        r"no matching manifest for|no image found .* for architecture",
        "the image is not built for this node's CPU: `docker manifest inspect IMAGE` lists what there is",
    ),
    (
        r"could not select device driver|unknown or invalid runtime name|nvidia-container|cdi device",
        "install nvidia-container-toolkit, `sudo nvidia-ctk runtime configure`, restart docker "
        "(a snap docker cannot use it)",
    ),
    (
        r"setting rlimit|ulimit",
        "this engine may not raise that limit: raise the host's own, or leave it out of docker.ulimits",
    ),
    (
        r"pull access denied|denied: requested access|unauthorized|authentication required|403 Forbidden|"
        r"\bdenied: denied",
        "there is no such image, or it is private: check docker.image, then `docker login REGISTRY` there",
    ),
    (
        r"manifest unknown|manifest for .* not found|repository does not exist|name unknown",
        "no such image: check its name and tag in docker.image",
    ),
    (
        r"toomanyrequests|rate limit",
        "the registry's rate limit: `docker login` there, or use a mirror",
    ),
    (r"no space left", "no room for the image: free some disk (docker system df), about 30 GB are needed"),
    (
        r"no such host|network is unreachable|i/o timeout|connection refused|TLS handshake",
        "the node does not reach the registry: a proxy, a mirror, or `docker save | ssh NODE docker load`",
    ),
    (
        r"exec format error|does not match the (expected|detected)",
        "the image is for another CPU",
    ),
    (r"ray: (command )?not found", "this image has no ray: go back to the check of the image"),
    (r"not found", "install docker on that node, or set docker.command to its full path"),
)
