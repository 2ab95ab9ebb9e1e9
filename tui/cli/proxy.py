"""`milepost proxy` and `milepost exposed`: what stands in front of the API, and what answers from outside."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from wizard_steps.cluster.file import load
from wizard_steps.engine.decide import GivenAnswer
from wizard_steps.errors import UsageError
from wizard_steps.milestones.exposed import URL, Exposed


def add(subparsers: Any) -> None:
    proxy = subparsers.add_parser(
        "proxy",
        help="print a Caddy or nginx configuration: TLS, /v1 alone, the API key",
        description="Prints a reverse proxy's configuration for this cluster. Writes nothing. "
        "`milepost help proxy` says why, `milepost exposed --url` tests it.",
    )
    proxy.add_argument("cluster", nargs="?", type=Path, default=Path("milepost.toml"))
    proxy.add_argument("--domain", required=True, help="the name that clients use, e.g. llm.example.org")
    proxy.add_argument("--nginx", action="store_true", help="for nginx instead of Caddy")
    proxy.set_defaults(run=run)
    exposed = subparsers.add_parser(
        "exposed",
        help="try every port and the API from this machine, without a key",
        description="Tries the ports of Ray and vLLM on every address of every node from this machine, not "
        "through SSH, and the API without a key. Fails where one answers at a public address that must not. "
        "--url tests a proxy: TLS, the key, and that it passes /v1 alone.",
    )
    exposed.add_argument("cluster", nargs="?", type=Path, help="cluster file (default: ./milepost.toml)")
    exposed.add_argument("--url", default="", help="a proxy in front, e.g. https://llm.example.org")
    exposed.add_argument(
        "--walk", type=Path, metavar="DIR", help="where to record (default: milepost-walks/…)"
    )
    exposed.add_argument(
        "--take-over", action="store_true", help="although another wizard holds this cluster"
    )
    exposed.add_argument("--quiet", action="store_true", help="verdict and failures only")
    exposed.set_defaults(run=run_exposed, lab=False, load=False, fault="", dry_run=False)


def run(args: argparse.Namespace) -> int:
    from wizard_steps.node import proxy

    cluster, domain = load(args.cluster), proxy.checked(args.domain)
    print((proxy.nginx if args.nginx else proxy.caddy)(cluster, domain), end="")
    return 0


def run_exposed(args: argparse.Namespace) -> int:
    from tui.cli.headless import run_headless

    if args.url and not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]{1,253}/?", args.url):
        raise UsageError(
            f"--url {args.url}: give http:// or https:// and a host, e.g. https://llm.example.org"
        )
    args.steps, args.decider = [Exposed()], GivenAnswer(URL, args.url)
    return run_headless(args)
