"""What a cluster file holds, as frozen values. Reading, checking and writing it: cluster.py."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from wizard_steps.cluster import versions
from wizard_steps.cluster.address import Address, address
from wizard_steps.model import Node

Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=1, le=4096)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]
EnvName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")]
#: vLLM's own defaults for --master-port and --data-parallel-rpc-port.
MASTER_PORT = 29501
RPC_PORT = 29550
MODELSCOPE = "https://modelscope.cn"
Path_ = Literal["bare-metal", "docker"]


class NodeEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One machine.

    gpus       how many of its GPUs are used: the first sound ones, unless its env has CUDA_VISIBLE_DEVICES.
               0 is for a head that only runs Ray: vLLM then starts on the first node that has GPUs.
    env        for this node's processes; wins over the cluster's [env].
    docker_flags  for `docker run` on this node, after docker.extra_flags.
    ray_flags  for `ray start` on this node, after ray.head_flags or ray.worker_flags.
    """

    host: Annotated[str, Meta(min_length=1, max_length=255)]
    gpus: Annotated[int, Meta(ge=0, le=1024)]
    role: Literal["head", "worker"] = "worker"
    name: Name | None = None
    user: str = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    fabric_ip: str = ""
    env: dict[EnvName, str] = field(default_factory=dict)
    ray_flags: tuple[str, ...] = ()
    docker_flags: tuple[str, ...] = ()


class Serve(Struct, frozen=True, forbid_unknown_fields=True):
    """``vllm serve``: what is served, and how it is split over the GPUs.

    ``api_key``: clients must give a key. The key itself is never in the file: VLLM_API_KEY of the wizard's
    environment, else the person is asked. Without it vLLM takes VLLM_API_KEY where that is set.
    ``executor``: "mp" is vLLM's own launcher, a rank on every node (``--nnodes``), without Ray; the ranks
    meet at ``master_port`` of the head. ``data_parallel``: that many replicas behind one API, dealt out over
    the nodes by replicas.py; their engines meet at ``data_parallel_port`` of the server.
    """

    model: Annotated[str, Meta(min_length=1)] = "meta-llama/Llama-3.2-1B-Instruct"
    served_model_name: str = ""
    tensor_parallel: Count = 1
    pipeline_parallel: Count = 1
    data_parallel: Count = 1
    expert_parallel: bool = False
    decode_context_parallel: Count = 1
    executor: Literal["ray", "mp"] = "ray"
    master_port: Port = MASTER_PORT
    data_parallel_port: Port = RPC_PORT
    rehearse: Literal["no", "ask", "yes"] = "no"
    host: str = "0.0.0.0"
    port: Port = 8000
    api_key: bool = False
    extra_flags: tuple[str, ...] = ()
    vllm_version: str = versions.VLLM
    ready_timeout: Annotated[int, Meta(ge=10)] = 1800

    @property
    def name(self) -> str:
        """The model id that /v1/models must list."""
        return self.served_model_name or self.model

    @property
    def world_size(self) -> int:
        """GPUs for one replica: TP x PP."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def total_ranks(self) -> int:
        """GPUs for all replicas."""
        return self.world_size * self.data_parallel

    @property
    def split(self) -> str:
        """In words: ``TP 8 x PP 2``, with DP where there is more than one replica."""
        replicas = f" x DP {self.data_parallel}" if self.data_parallel > 1 else ""
        return f"TP {self.tensor_parallel} x PP {self.pipeline_parallel}{replicas}"


class Ray(Struct, frozen=True, forbid_unknown_fields=True):
    """``auth``: "token" gives every node the same Ray token, made by the wizard; "off" leaves that to Ray."""

    port: Port = 6379
    dashboard_port: Port = 8265
    dashboard_host: str = "127.0.0.1"
    version: str = versions.RAY
    settle: Annotated[int, Meta(ge=0, le=600)] = 45
    auth: Literal["off", "token"] = "off"
    head_flags: tuple[str, ...] = ()
    worker_flags: tuple[str, ...] = ()


class Ssh(Struct, frozen=True, forbid_unknown_fields=True):
    config: str = "~/.ssh/config"
    known_hosts: str = "~/.ssh/known_hosts"
    identity: tuple[str, ...] = ()
    connect_timeout: Annotated[float, Meta(gt=0, le=600)] = 15.0
    keepalive: Annotated[float, Meta(ge=0, le=600)] = 15.0
    limit: Annotated[int, Meta(ge=1, le=1024)] = 64


class Docker(Struct, frozen=True, forbid_unknown_fields=True):
    """``path = "docker"``: the image, and how its containers are started.

    image        empty: vLLM's official image for serve.vllm_version.
    command      the docker command on the nodes: ``docker``, a full path, or ``sudo -n docker``.
    ipc          "host": the host's own /dev/shm in place of one of shm_size.
    restart      the engine's restart policy. Empty: after a reboot nothing comes back until a walk starts it.
    log_size     the engine keeps at most this much of a container's log where its log driver can, and vLLM's
                 log begins anew at this size. Empty: no limit.
    log_home     the node's folder for the logs of processes in the container. Empty: not mounted.
    compile_cache  the node's folder for what vLLM compiles. Empty: not mounted, compiled again each time.
    rdma         "auto": /dev/infiniband and IPC_LOCK where the node has RDMA devices.
    archive      a file on the nodes that `docker load` takes instead of a pull.
    send_image   only the head pulls; the image goes from node to node over the GPU network.
    gpu_flags    podman ignores ``--gpus``; there it is ``["--device", "nvidia.com/gpu=all"]``.
    ray          what to do when the image has no ray. ask: the person; image: nothing, another image has
                 to be named; build: add Ray to it on each node; none: the older way to write
                 serve.executor = "mp".
    master_port  the older place of serve.master_port.
    """

    image: str = ""
    hf_home: str = "~/.cache/huggingface"
    ipc: Literal["", "host"] = ""
    restart: Literal["", "on-failure", "unless-stopped", "always"] = ""
    log_size: Annotated[str, Meta(pattern=r"^(\d{1,9}[kmg])?\Z")] = "100m"
    log_home: str = "~/.milepost"
    compile_cache: str = "~/.cache/milepost"
    rdma: Literal["auto", "off"] = "auto"
    archive: str = ""
    send_image: bool = False
    shm_size: Annotated[str, Meta(pattern=r"^\d+(\.\d+)?[bkmgBKMG]?\Z")] = "10.24g"
    command: Annotated[str, Meta(min_length=1)] = "docker"
    gpu_flags: tuple[str, ...] = ("--gpus", "all")
    ulimits: tuple[str, ...] = ("memlock=-1", "stack=67108864")
    extra_flags: tuple[str, ...] = ()
    ray: Literal["ask", "image", "build", "none"] = "ask"
    master_port: Port = MASTER_PORT


class Fabric(Struct, frozen=True, forbid_unknown_fields=True):
    """The GPU network's gate. Shares of the links' own rate; ``accept`` turns a failure into a warning."""

    accept: tuple[Literal["socket", "slow"], ...] = ()
    warn_below: Annotated[float, Meta(ge=0, le=1)] = 0.75
    fail_below: Annotated[float, Meta(ge=0, le=1)] = 0.25
    #: Beside NVLink: two healthy H100 were measured at 0.64.
    warn_below_inside: Annotated[float, Meta(ge=0, le=1)] = 0.5
    #: Of what the other pairs of nodes reach.
    slow_pair_below: Annotated[float, Meta(ge=0, le=1)] = 0.6


class Install(Struct, frozen=True, forbid_unknown_fields=True):
    """How vLLM and Ray are installed on bare metal. [env] reaches the installer too.

    from        a folder on the wizard's machine that `milepost pack` made: packages, image and model come
                from it over SSH, and no node needs a way to the internet.
    tool        auto: uv where a node has it, else pip.
    index_url   a package index in place of PyPI; find_links: folders or pages of wheels beside it.
    proxy       for what brings packages, model and image, where a node has no way out of its own.
    """

    tool: Literal["auto", "uv", "pip"] = "auto"
    index_url: str = ""
    find_links: tuple[str, ...] = ()
    proxy: str = ""
    kit: str = field(default="", name="from")


class Weights(Struct, frozen=True, forbid_unknown_fields=True):
    """How the model comes onto the nodes before vLLM starts.

    fetch  ask: one node fetches it and the others copy it from there, after the plan was shown; once: the
           same without a question; each: vLLM downloads on every node.
    node   the node that fetches; empty: the one that has most of it, else the one where vLLM's API will be.
    port   where a node hands files to the next one, on the GPU network, while they are copied.
    copy   chain: from node to node over the GPU network; rsync: over SSH between nodes that may log in to
           each other; wizard: through tunnels of the wizard's SSH connections; auto: chain, and wizard
           where that does not get through.
    from   in place of the hub: the address of a folder with the model's files, "modelscope", or
           modelscope+https://… of a server that answers as it does.
    """

    fetch: Literal["ask", "once", "each"] = "ask"
    node: str = ""
    port: Port = 29540
    copy: Literal["auto", "chain", "rsync", "wizard"] = "auto"
    web: str = field(default="", name="from")

    @property
    def address(self) -> str:
        """``web`` in full."""
        return f"modelscope+{MODELSCOPE}" if self.web == "modelscope" else self.web


class Load(Struct, frozen=True, forbid_unknown_fields=True):
    """`milepost load`: how much is asked, and what the server must reach. A limit of 0 is not judged.

    tool         auto: `vllm bench serve` where the server's vLLM has it, else milepost's own client.
    concurrency  requests at the same time, one run each.
    soak         seconds of steady load after that, at the largest concurrency; 0: none.
    max_ttft_ms, max_tpot_ms  milliseconds; the 99th percentile of each run is judged.
    min_tokens_per_second     output tokens of all requests together, in the best run.
    """

    tool: Literal["auto", "own"] = "auto"
    concurrency: Annotated[tuple[Annotated[int, Meta(ge=1, le=4096)], ...], Meta(min_length=1)] = (1, 8, 32)
    input_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 128
    output_tokens: Annotated[int, Meta(ge=2, le=1_000_000)] = 128
    soak: Annotated[int, Meta(ge=0, le=604_800)] = 0
    max_ttft_ms: Annotated[float, Meta(ge=0)] = 0.0
    max_tpot_ms: Annotated[float, Meta(ge=0)] = 0.0
    min_tokens_per_second: Annotated[float, Meta(ge=0)] = 0.0


class Cluster(Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    nodes: Annotated[tuple[NodeEntry, ...], Meta(min_length=1)]
    name: Name = "milepost"
    path: Path_ = "bare-metal"
    venv: Annotated[str, Meta(min_length=1)] = "/opt/vllm-venv"
    serve: Serve = field(default_factory=Serve)
    ray: Ray = field(default_factory=Ray)
    ssh: Ssh = field(default_factory=Ssh)
    docker: Docker = field(default_factory=Docker)
    fabric: Fabric = field(default_factory=Fabric)
    install: Install = field(default_factory=Install)
    weights: Weights = field(default_factory=Weights)
    load: Load = field(default_factory=Load)
    env: dict[EnvName, str] = field(default_factory=dict)
    #: Set by the embedded lab: every screen and recording of it says SIMULATED.
    simulated: bool = False

    @cached_property
    def node_list(self) -> tuple[Node, ...]:
        return tuple(_node(entry) for entry in self.nodes)

    @cached_property
    def head(self) -> Node:
        return next(node for node in self.node_list if node.role == "head")

    @cached_property
    def workers(self) -> tuple[Node, ...]:
        return tuple(node for node in self.node_list if node.role == "worker")

    @cached_property
    def server(self) -> Node:
        """Where `vllm serve` runs: the head, or the first node with GPUs when the head has none."""
        return next((n for n in (self.head, *self.workers) if n.gpus), self.head)

    @cached_property
    def _entries(self) -> dict[str, NodeEntry]:
        return {node.name: entry for node, entry in zip(self.node_list, self.nodes, strict=True)}

    def entry(self, node: Node) -> NodeEntry:
        """What the file says of a node; nothing special of the wizard's machine, which is not in it."""
        return self._entries.get(node.name) or NodeEntry(host=node.host, gpus=node.gpus)

    @property
    def without_ray(self) -> bool:
        """Whether the file chooses vLLM's own launcher. (A person may still, where an image has no Ray.)"""
        return self.serve.executor == "mp" or (self.path == "docker" and self.docker.ray == "none")

    @property
    def master_port(self) -> int:
        """Where vLLM's ranks meet without Ray."""
        older = self.docker.master_port if self.path == "docker" else MASTER_PORT
        return older if older != MASTER_PORT else self.serve.master_port

    @property
    def meeting_port(self) -> int:
        """Where the other nodes find the head. (docker.ray leaves the executor open until later.)"""
        if self.serve.executor == "ray":
            return self.ray.port
        return self.serve.data_parallel_port if self.serve.data_parallel > 1 else self.master_port

    @property
    def total_gpus(self) -> int:
        return sum(entry.gpus for entry in self.nodes)


def _node(entry: NodeEntry) -> Node:
    parts = address(entry.host) or Address(entry.host)
    return Node(
        name=entry.name or parts.host,
        host=parts.host,
        role=entry.role,
        gpus=entry.gpus,
        fabric_ip=entry.fabric_ip,
        user=entry.user or parts.user,
        port=entry.port or parts.port,
    )
