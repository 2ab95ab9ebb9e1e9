"""The plan of a walk as styled text: what is served, what changes on which machine, each milestone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text

from tui.app.text import described, safe, wrapped
from wizard_steps.advisor.here import known
from wizard_steps.advisor.plan import Box
from wizard_steps.advisor.sits import sits
from wizard_steps.cluster.api import base_url
from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.step import STARTS
from wizard_steps.model import Node, counted
from wizard_steps.node.docker import image_of
from wizard_steps.node.places import place_of
from wizard_steps.planning import Plan, PlannedCommand, PlannedMilestone

Look = Callable[[str], Style]
#: Disk that the packages take, and vLLM's image unpacked (GB): measured for vLLM 0.33 with CUDA.
VENV_GB, IMAGE_GB = 12, 30
#: Names of machines that do the same are listed up to this many.
_NAMES = 6
#: Columns of the labels.
_LABEL = 12


@dataclass(frozen=True, slots=True)
class Machine:
    """Machines on which the same is done."""

    names: tuple[str, ...]
    about: str
    does: tuple[tuple[str, str], ...]


def machines(planned: Plan, cluster: Cluster) -> list[Machine]:
    """What is read and changed on each machine; machines alike are one."""
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[Node]] = {}
    for node in planned.nodes:
        about = f"{node.role}, {counted(node.gpus, 'GPU')}"
        groups.setdefault((about, tuple(_does(planned, cluster, node))), []).append(node)
    return [
        Machine(tuple(node.name for node in nodes), about, (*_where(cluster, nodes), *does))
        for (about, does), nodes in groups.items()
    ]


def _where(cluster: Cluster, nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """How machines are reached: all addresses, or the first and the last of many."""
    yield "SSH", names_of([address_of(node) for node in nodes])
    found = dict.fromkeys(cluster.entry(node).fabric_ip or "asked for or found by the walk" for node in nodes)
    yield "GPU traffic", names_of(list(found))


def address_of(node: Node) -> str:
    user, port = f"{node.user}@" if node.user else "", f":{node.port}" if node.port else ""
    return f"{user}{node.host}{port}"


def _does(planned: Plan, cluster: Cluster, node: Node) -> Iterator[tuple[str, str]]:
    yield "reads", "OS, GPUs, network, limits, disks, software, model files"
    commands = [
        one for milestone in planned.milestones for one in milestone.commands if one.node == node.name
    ]
    if cluster.simulated:
        yield "installs", "nothing: the lab has its own packages; its GPUs are SIMULATED"
    elif place_of(cluster).contained:
        yield "fetches", f"the image {image_of(cluster)}: about {IMAGE_GB} GB, unless it is there"
    else:
        yield "installs", f"{_packages(cluster)} in {cluster.venv}: about {VENV_GB} GB, unless it is there"
    if node.gpus and not cluster.simulated:
        yield "fetches", weights(cluster)
    starts = [one.changes.removeprefix("starts ") for one in commands if _starts(one)]
    if starts:
        yield "starts", ", ".join(dict.fromkeys(starts))
    ports = [part for port in planned.ports if port.node == node.name for part in port.port.split(", ")]
    numbers = sorted({part for part in ports if part[0].isdigit()}, key=lambda part: int(part.split("-")[0]))
    yield "ports", ", ".join((*numbers, *(["and random ones above 1023"] if "random" in ports else [])))


def _starts(one: PlannedCommand) -> bool:
    """Whether it leaves something running: a download that goes on by itself is started too, and ends."""
    return one.key == STARTS and one.changes.startswith("starts ")


def _packages(cluster: Cluster) -> str:
    ray = "" if cluster.without_ray else f" and Ray {cluster.ray.version}"
    return f"vLLM {cluster.serve.vllm_version}{ray}"


def weights(cluster: Cluster) -> str:
    """How much of the model is fetched, as far as this machine can say."""
    model = cluster.serve.model
    if model.startswith(("/", "./", "~")):
        return f"no model: {model} has to be there"
    found = known(model)
    size = (
        f"about {found.weight_bytes / 1e9:.3g} GB ({found.source})" if found.weight_bytes else "size unknown"
    )
    return f"the model {model}: {size}, unless it is there"


def plan_text(planned: Plan, cluster: Cluster, look: Look, width: int, commands: bool = False) -> Text:
    """The whole page in ``width`` columns. ``commands``: every command as it would be typed."""
    page = _Page(look, max(30, width))
    _served(page, cluster)
    for machine in machines(planned, cluster):
        page.heading(names_of(machine.names), machine.about)
        for label, words in machine.does:
            page.row(label, words, "warning" if label in ("installs", "fetches", "starts") else "")
    page.heading("Milestones", "v: every command" if not commands else "v: without commands")
    for number, milestone in enumerate(planned.milestones, 1):
        _milestone(page, number, milestone, commands)
    if planned.assumed:
        page.heading("Not known before a machine was asked", "")
        for line in planned.assumed:
            page.row("", line)
    page.text.rstrip()
    return page.text


def _served(page: _Page, cluster: Cluster) -> None:
    serve, head = cluster.serve, cluster.server
    page.row("Serve", serve.name, value_style="strong")
    ordered = sorted(cluster.node_list, key=lambda node: node.role != "head")
    boxes = [Box(node.name, node.gpus) for node in ordered if node.gpus]
    if boxes:
        found = sits(boxes, serve.tensor_parallel, serve.pipeline_parallel, known(serve.model))
        tone = {"good": "good", "doubt": "warning", "bad": "bad"}[found.grade]
        page.row("Split", found.text, value_style=tone)
    page.row("Endpoint", f"{base_url(cluster, cluster.entry(head).fabric_ip or head.host)}/v1")


def _milestone(page: _Page, number: int, milestone: PlannedMilestone, commands: bool) -> None:
    changes = milestone.changes
    page.add(f"{number:>3} ", "quiet")
    page.add(f"{safe(milestone.title):<30}")
    what = "; ".join(dict.fromkeys(one.changes for one in changes))
    asks = " and asks you" if milestone.questions else ""
    said = f"changes: {what}{asks}" if changes else f"reads{asks}"
    for at, line in enumerate(wrapped(safe(said), max(10, page.width - 34))):
        page.add(" " * 34 * (at > 0) + line + "\n", "warning" if changes else "quiet")
    if commands:
        for typed, nodes in grouped(milestone.commands):
            prompt = "" if described(typed) else "$ "
            page.row("", f"{names_of(nodes)} {prompt}{typed}", value_style="quiet", indent=6)


def grouped(commands: Sequence[PlannedCommand]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The same command on several nodes once."""
    found: dict[str, list[str]] = {}
    for one in commands:
        found.setdefault(" ".join(one.typed.split()), []).append(one.node)
    yield from ((typed, tuple(nodes)) for typed, nodes in found.items())


def names_of(names: Sequence[str]) -> str:
    """All of them, or of many the first and the last."""
    if len(names) <= _NAMES:
        return ", ".join(safe(name) for name in names)
    return f"{safe(names[0])} … {safe(names[-1])} ({len(names)} in all)"


class _Page:
    def __init__(self, look: Look, width: int) -> None:
        self.text = Text()
        self._look = look
        self.width = width

    def add(self, words: str, style: str = "") -> None:
        self.text.append(words, self._look(style) if style else "")

    def heading(self, words: str, more: str) -> None:
        self.add("\n")
        self.add(words, "strong")
        self.add(f"  {more}\n", "quiet")

    def row(
        self, label: str, words: str, label_style: str = "", value_style: str = "", indent: int = _LABEL + 2
    ) -> None:
        """A label and its words, further lines under the first."""
        lines = wrapped(safe(words), self.width - indent)
        for number, line in enumerate(lines):
            self.add(f"  {label:<{indent - 2}}" if number == 0 else " " * indent, label_style or "quiet")
            self.add(line + "\n", value_style)
