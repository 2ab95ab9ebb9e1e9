"""All facts of one node as one value."""

from __future__ import annotations

from msgspec import Struct

from wizard_steps.facts import host as on_host
from wizard_steps.facts import netstate as on_net
from wizard_steps.facts import software as on_node
from wizard_steps.facts.accelerators import Accelerators, parse_accelerators
from wizard_steps.facts.firewall import Firewall, parse_firewall
from wizard_steps.facts.gpu import GpuFacts, GpuProcess, merged, parse_compute_apps, parse_nvidia_smi
from wizard_steps.facts.gpu_health import Health, Xid, parse_health, parse_xids
from wizard_steps.facts.network import Interface, parse_interfaces, with_devices
from wizard_steps.facts.script import END
from wizard_steps.facts.sections import FactSection, pick, split


class NodeAnswer(Struct, frozen=True):
    """What a node answered to one command. ``problem`` says why nothing came (unreachable, timed out).

    ``started`` and ``ended`` are the wizard's clock, seconds since 1970.
    """

    text: str = ""
    problem: str = ""
    started: float = 0.0
    ended: float = 0.0
    #: What the transport says of the login, a sentence a line (see Cmd.login).
    notes: str = ""


class NodeFacts(Struct, frozen=True):
    """``problem`` is set when the node did not answer at all. Sizes as their types say."""

    problem: str = ""
    #: The last section that came, when the output was cut off before its end; else empty.
    cut_after: str = ""
    #: What a person should know of the login.
    login: tuple[str, ...] = ()
    host: on_host.Host = on_host.Host()
    limits: on_host.Limits = on_host.Limits()
    home: on_host.Home = on_host.Home()
    shm: on_host.Disk | None = None
    disks: tuple[on_host.Disk, ...] = ()
    clock: on_host.ClockReading | None = None
    ntp: str = ""
    gpu: GpuFacts = GpuFacts("failed")
    gpu_processes: tuple[GpuProcess, ...] = ()
    gpu_health: tuple[Health, ...] = ()
    xids: tuple[Xid, ...] = ()
    accelerators: Accelerators = Accelerators()
    gpu_fabric: tuple[str, ...] = ()
    topology: on_net.Topology = on_net.Topology()
    ssh_ip: str = ""
    interfaces: tuple[Interface, ...] = ()
    #: Mbit/s by network device.
    speeds: dict[str, int] = {}
    #: Bytes by network device.
    mtus: dict[str, int] = {}
    rdma: tuple[on_net.Rdma, ...] = ()
    firewall: Firewall = Firewall()
    proxies: dict[str, str] = {}
    software: on_node.Software = on_node.Software()
    docker: on_node.DockerFacts | None = None
    processes: tuple[on_node.ServerProcess, ...] = ()
    processes_known: bool = False
    #: /proc shows this user no process of others (its option hidepid).
    processes_hidden: bool = False
    listeners: tuple[on_node.Listener, ...] = ()
    listeners_known: bool = False
    ours: on_node.Ours = on_node.Ours()
    token: on_node.Token = on_node.Token()
    model: on_node.ModelFacts = on_node.ModelFacts()
    access: on_node.Access | None = None
    #: The model's config.json as text and the bytes of its safetensors files, as the head has them.
    config: str = ""
    weight_bytes: int = 0


def parse_node(answers: dict[str, NodeAnswer]) -> NodeFacts:
    """From the answers to ``script.commands``, by command key. Never raises: what is not there is empty."""
    main = answers.get("facts", NodeAnswer(problem="not asked"))
    found = split(main.text)
    if not found:
        return NodeFacts(problem=main.problem or _first(main.text) or "the node printed nothing")
    clock, access = answers.get("clock"), answers.get("access")
    shm = on_host.parse_df(pick(found, "shm"))
    host = on_host.parse_host(pick(found, "os"), pick(found, "memory"), pick(found, "boot"))
    gpu = _gpu(pick(found, "nvidia"), pick(found, "gpus"), host)
    devices = on_net.parse_devices(pick(found, "links"))
    processes, proc_tcp = pick(found, "processes"), pick(found, "listeners")
    weights, config = _config(answers.get("config"))
    listeners = on_node.parse_listeners(proc_tcp, pick(found, "sockets"))
    return NodeFacts(
        cut_after="" if END in found else list(found)[-1],
        login=tuple(main.notes.splitlines()),
        host=host,
        limits=on_host.parse_limits(pick(found, "limits")),
        home=on_host.parse_home(pick(found, "home")),
        shm=shm[0] if shm else None,
        disks=tuple(on_host.parse_df(pick(found, "disk"))),
        clock=on_host.parse_clock(clock.text, clock.started, clock.ended) if clock else None,
        ntp=pick(found, "ntp").text.strip() if pick(found, "ntp").ok else "",
        gpu=gpu,
        gpu_processes=tuple(parse_compute_apps(pick(found, "gpu-processes").text)) or gpu.processes,
        gpu_health=tuple(parse_health(pick(found, "gpu-health").text)),
        xids=tuple(parse_xids(pick(found, "gpu-xids").text)),
        accelerators=parse_accelerators(pick(found, "accelerators").text),
        gpu_fabric=tuple(pick(found, "gpu-fabric").lines) if pick(found, "gpu-fabric").ok else (),
        topology=on_net.parse_topology(pick(found, "gpu-topology")),
        ssh_ip=pick(found, "ssh").text.strip(),
        interfaces=with_devices(parse_interfaces(pick(found, "interfaces").text), devices),
        speeds={name: one.speed for name, one in devices.items()},
        mtus={name: one.mtu for name, one in devices.items()},
        rdma=tuple(on_net.parse_rdma(pick(found, "rdma"))),
        firewall=parse_firewall(found),
        proxies=on_net.parse_proxies(pick(found, "proxies")),
        software=on_node.parse_software(pick(found, "python"), pick(found, "packages")),
        docker=on_node.parse_docker(found["docker"]) if "docker" in found else None,
        processes=tuple(on_node.parse_processes(processes)),
        # grep exits 1 when no line matches; without ps its error text comes through.
        processes_hidden=processes.text.startswith("hidden: "),
        processes_known=not processes.missing and "not found" not in processes.text,
        listeners=tuple(listeners),
        listeners_known=proc_tcp.code in (0, 1) or pick(found, "sockets").ok,
        ours=on_node.parse_ours(pick(found, "ours")),
        token=on_node.parse_token(pick(found, "ray-token")),
        model=on_node.parse_model(pick(found, "model")),
        access=_access(access),
        config=config,
        weight_bytes=weights,
    )


def _gpu(table: FactSection, query: FactSection, host: on_host.Host) -> GpuFacts:
    """The query has exact numbers, the table has the CUDA version; either may be missing."""
    plain = parse_nvidia_smi(table.text, table.code)
    exact = parse_nvidia_smi(query.text, query.code)
    return merged(plain, exact, host.memory_kib >> 10, (host.memory_kib - host.available_kib) >> 10)


def _access(answer: NodeAnswer | None) -> on_node.Access | None:
    if answer is None:
        return None
    if answer.problem:
        return on_node.Access(error=answer.problem)
    return on_node.parse_access(answer.text)


def _config(answer: NodeAnswer | None) -> tuple[int, str]:
    """``weights N`` and then the file itself."""
    first, _, rest = (answer.text if answer else "").replace("\r\n", "\n").partition("\n")
    name, _, number = first.partition(" ")
    return (int(number), rest) if name == "weights" and number.isdigit() else (0, "")


def _first(text: str) -> str:
    return next((line.strip()[:200] for line in text.splitlines() if line.strip()), "")
