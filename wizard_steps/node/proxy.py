"""A reverse proxy's configuration for vLLM's API: TLS, /v1 alone, streaming; the API key stays with vLLM."""

from __future__ import annotations

import re

from wizard_steps.cluster.api import base_url, listens, tls
from wizard_steps.cluster.file import Cluster
from wizard_steps.errors import UsageError

#: Seconds that an answer may take: a long one of a large model.
_ANSWER = 1800


def upstream(cluster: Cluster) -> str:
    """Where the proxy reaches vLLM: what it listens on, else the server's address."""
    return base_url(cluster, listens(cluster, cluster.server.fabric_ip or cluster.server.host))


def checked(domain: str) -> str:
    """A host name. Raises UsageError for anything else: it goes into a configuration."""
    if not re.fullmatch(
        r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,62})?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62})?)*", domain
    ):
        raise UsageError(f"{domain!r} is not a host name, e.g. llm.example.org")
    return domain


def caddy(cluster: Cluster, domain: str) -> str:
    """A Caddyfile. Caddy gets the certificate itself, where the name leads to it from the internet."""
    own = "                tls_insecure_skip_verify\n" if tls(cluster) else ""
    guard = "" if cluster.serve.api_key else (
        "        # vLLM asks for no key (serve.api_key = false): this does. Start Caddy with VLLM_API_KEY.\n"
        "        @nokey not {\n"
        # Not `header Authorization`: there a * in the key would stand for anything.
        "            vars {header.Authorization} \"Bearer {env.VLLM_API_KEY}\"\n"
        # Where the proxy was started without a key, the line above is an empty one's.
        "            header_regexp Authorization \"^Bearer .+\"\n"
        "        }\n"
        "        respond @nokey 401\n"
    )  # fmt: skip
    text = (
        f"# {cluster.name}: made by `milepost proxy`. caddy validate --config Caddyfile\n"
        f"{domain} {{\n"
        # Without it Caddy sorts by directive, and passes /v1 before it asks for the key.
        "    route {\n"
        f"{guard}"
        f"        reverse_proxy /v1/* {upstream(cluster)} {{\n"
        # No `flush_interval -1`: Caddy passes a stream's pieces on at once anyway, and with it Caddy 2.6
        # broke answers to large requests off, now and then.
        "            transport http {\n"
        f"{own}"
        f"                response_header_timeout {_ANSWER}s\n"
        "            }\n"
        "        }\n"
        "        # /invocations, /tokenize, /metrics and /docs answer without a key: they are not passed.\n"
        "        respond 404\n"
        "    }\n"
        "}\n"
    )
    return text.replace("    ", "\t")  # as `caddy fmt` wants it


def nginx(cluster: Cluster, domain: str) -> str:
    """For nginx's http block. Raises UsageError without serve.api_key: nginx has no key of its own."""
    if not cluster.serve.api_key:
        raise UsageError("set serve.api_key = true first: nginx asks for no key, and vLLM would ask for none")
    return (
        f"# {cluster.name}: made by `milepost proxy`. Put it into nginx's http block; nginx -t\n"
        "server {\n"
        "    listen 443 ssl;\n"
        "    listen [::]:443 ssl;\n"
        f"    server_name {domain};\n"
        f"    ssl_certificate     /etc/letsencrypt/live/{domain}/fullchain.pem;\n"
        f"    ssl_certificate_key /etc/letsencrypt/live/{domain}/privkey.pem;\n"
        "    client_max_body_size 64m;\n"
        "    location /v1/ {\n"
        f"        proxy_pass {upstream(cluster)};\n"
        "        proxy_http_version 1.1;\n"
        '        proxy_set_header Connection "";\n'
        "        proxy_buffering off;\n"
        f"        proxy_read_timeout {_ANSWER}s;\n"
        "    }\n"
        "    # /invocations, /tokenize, /metrics and /docs answer without a key: they are not passed.\n"
        "    location / { return 404; }\n"
        "}\n"
    )
