"""install: one venv at the same path on every node, with vLLM and Ray pinned together."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from wizard_steps.cluster.devices import outward
from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.step import ABOUT_FACTS, FACTS, Bundled, Known, Step
from wizard_steps.facts.needs import installed
from wizard_steps.milestones import install_lock as lock
from wizard_steps.milestones.common import everywhere, failure, same_everywhere
from wizard_steps.model import Check, Cmd, Node, Results, Round, Verdict
from wizard_steps.node.kit import LOCK, WHEELS, as_sh
from wizard_steps.node.lines import fields
from wizard_steps.node.remote import exports
from wizard_steps.node.venv import look

_RAYS_PYTHON = "Ray refuses a worker whose Python differs, patch too"


def versions_command(venv: str, key: str = "versions", without_ray: bool = False) -> Cmd:
    text = look(venv, "vllm", "ray", "torch")
    ray = "" if without_ray else ', m.version("ray")'
    show = f"{venv}/bin/python -c 'import importlib.metadata as m; print(m.version(\"vllm\"){ray})'"
    return Cmd(key=key, text=text, timeout=90, show=show)


def install_command(known: Known, node: Node) -> Cmd:
    cluster = known.cluster
    venv = shlex.quote(cluster.venv)
    words = shown = shlex.join([*installer_flags(cluster), *packages(cluster)])
    if folder := str(known.facts.get("kit", {}).get("folder", "")):
        # What is installed is what was packed, to the byte: nothing else is taken, from nowhere else.
        words, shown = (
            f"--no-index --find-links {kit}/{WHEELS} --require-hashes -r {kit}/{LOCK}"
            for kit in (as_sh(folder), folder)
        )
    text = (
        f"{exports(outward(cluster, node))}{_UV[cluster.install.tool]}"
        f'if [ -n "$uv" ]; then\n'
        f'[ -x {venv}/bin/python ] || "$uv" venv -q --python python3 {venv} || exit 1\n'
        f'exec "$uv" pip install --no-progress --python {venv}/bin/python {words}\nfi\n'
        f"[ -x {venv}/bin/python ] || python3 -I -m venv {venv} || exit 1\n"
        f"exec {venv}/bin/python -I -m pip install --disable-pip-version-check --progress-bar off {words}\n"
    )
    show = f"python3 -m venv {venv} && {venv}/bin/pip install {shown}"
    if cluster.install.tool == "uv":
        show = f"uv venv --python python3 {venv} && uv pip install --python {venv}/bin/python {shown}"
    return Cmd(key="install", text=text, mutates=True, timeout=3600, show=show)


#: sh text that sets ``uv`` to the program, or to nothing where pip is to install.
_FIND = "uv=$(PATH=$PATH:$HOME/.local/bin:$HOME/.cargo/bin command -v uv)\n"
_UV = {
    "auto": _FIND,
    "pip": "uv=\n",
    "uv": _FIND
    + '[ -n "$uv" ] || { echo "uv is neither in PATH nor in ~/.local/bin: install it, '
    + 'or set install.tool to auto"; exit 1; }\n',
}


def packages(cluster: Cluster) -> list[str]:
    """What is asked of pip or uv; the rest is what these need."""
    ray = [] if cluster.without_ray else [f"ray[default]=={cluster.ray.version}"]
    return [f"vllm=={cluster.serve.vllm_version}", *ray]


def installer_flags(cluster: Cluster) -> list[str]:
    """Those that pip and uv have in common."""
    index = [f"--index-url={cluster.install.index_url}"] if cluster.install.index_url else []
    return index + [f"--find-links={link}" for link in cluster.install.find_links]


class InstallStep(Step):
    id = "install"
    title = "Install vLLM"
    short = "install"
    effects: Mapping[str, str] = {
        "install": "makes the environment and installs the packages into it, unless they are there"
    }
    keys = ("versions", "install", "packages")
    bundled = (Bundled(("versions",), FACTS, ABOUT_FACTS),)
    owns = ("venv", r"install\..*", r"serve\.vllm_version", r"ray\.version")

    def rounds(self, known: Known, done: Results) -> Round | None:
        looking = versions_command(known.cluster.venv, without_ray=known.cluster.without_ray)
        if not done.has("versions"):
            return everywhere(known.nodes, looking)
        todo = [node for node in known.nodes if _reachable(done, node) and not _right(known, done, node)]
        if todo and not done.has("install"):
            return everywhere(todo, lambda node: install_command(known, node))
        fresh = [node for node in todo if (r := done.get("install", node)) and r.ok]
        again = len([r for r in done.items if r.key == "versions"]) > len(known.nodes)
        if fresh and not again:
            return everywhere(fresh, looking)
        unlike = len(set(lock.locks(known, done).values())) > 1 and not done.has("packages")
        return everywhere(known.nodes, lock.command(known.cluster.venv)) if unlike else None

    def judge(self, known: Known, done: Results) -> Verdict:
        checks: list[Check] = []
        pythons, rays = {}, {}
        for node in known.nodes:
            checks += self._node(known, done, node)
            found = _found(done, node)
            pythons[node.name], rays[node.name] = found.get("python", ""), found.get("ray", "")
        cluster = known.cluster
        why = "vLLM's ranks exchange pickled Python" if cluster.without_ray else _RAYS_PYTHON
        checks.append(same_everywhere("Python", pythons, why))
        if not cluster.without_ray:
            checks.append(same_everywhere("Ray", rays, "a worker with another Ray version cannot join"))
        checks += lock.checks(known, done)
        ok = all(check.ok for check in checks)
        did = "installed" if done.has("install") else "already there"
        what = f"vLLM {cluster.serve.vllm_version}"
        what += "" if cluster.without_ray else f" and Ray {cluster.ray.version}"
        wrong = f"not every node has the same vLLM{'' if cluster.without_ray else ' and Ray'}"
        return Verdict(ok, f"{what} in {cluster.venv}: {did}" if ok else wrong, tuple(checks))

    def _node(self, known: Known, done: Results, node: Node) -> list[Check]:
        for key in ("install", "versions"):
            result = done.get(key, node)
            if result is not None and not result.ok:
                return [failure(result, node)]
        found = _found(done, node)
        checks = []
        for name, wanted in _wanted(known).items():
            version = found.get(name, "missing")
            ok = installed(version, wanted, known.cluster.simulated)
            hint = (
                ""
                if ok
                else "retry to install it again, or set the version this venv has in the cluster file"
            )
            checks.append(Check(name, ok, version, wanted, node.name, hint))
        return checks


def _wanted(known: Known) -> dict[str, str]:
    ray = {} if known.cluster.without_ray else {"ray": known.cluster.ray.version}
    return {"vllm": known.cluster.serve.vllm_version, **ray}


def _found(done: Results, node: Node) -> dict[str, str]:
    result = done.get("versions", node)
    return fields(result.text) if result else {}


def _reachable(done: Results, node: Node) -> bool:
    result = done.get("versions", node)
    return result is not None and result.reason == "exit"


def _right(known: Known, done: Results, node: Node) -> bool:
    first = next(r for r in done.items if r.key == "versions" and r.node.name == node.name)
    found = fields(first.text)
    return all(
        installed(found.get(name, ""), wanted, known.cluster.simulated)
        for name, wanted in _wanted(known).items()
    )
