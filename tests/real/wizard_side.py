"""What the wizard's machine needs to reach the hosts of the test bed: an ssh config and a cluster file."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.real import hostfiles, vllm_env
from tests.real.netlab import Network

MODEL_AT = "/opt/models/tiny-random-llama"
#: The serve table of a cluster file: what keeps vLLM's CPU build small and quick to start.
SERVE = {
    "model": MODEL_AT,
    "served_model_name": "tiny-random-llama",
    "vllm_version": vllm_env.VLLM,
    "extra_flags": ["--enforce-eager", "--kv-cache-memory-bytes=67108864", "--max-model-len=512"],
}
#: The env table: eager PyTorch (the sampler would be compiled on the first chat, 25 s on two cores), one
#: thread for each of four workers that share those cores, and a raylet that gets longer than Ray's 30 s
#: where several Rays start at the same time.
ENV = {"TORCH_COMPILE_DISABLE": "1", "OMP_NUM_THREADS": "1", "RAY_raylet_start_wait_time_s": "240"}


class WizardSide:
    """``folder`` is the bed's, ``home`` the wizard's; ``gpus`` are logical ones by host."""

    names: tuple[str, ...]
    gpus: dict[str, int]
    network: Network
    folder: Path
    home: Path

    def ssh_config(
        self,
        jump: Mapping[str, str] | None = None,
        user: str = "root",
        identity: str | Mapping[str, str] | None = "id_lab",
    ) -> Path:
        """An OpenSSH client configuration with the aliases node-a …; ``jump={"c": "a"}`` goes through a.

        identity: a key of the wizard's for every host (``id_lab``, or ``id_locked`` with a passphrase), one
        for each, or None.
        """
        path = self.home / f"config-{secrets.token_hex(2)}"
        each = identity if isinstance(identity, Mapping) else dict.fromkeys(self.names, identity)
        keys = {name: self.home / key for name, key in each.items() if key}
        known = self.home / "known_hosts"
        path.write_text(hostfiles.ssh_config(self.network, known, keys, dict(jump or {}), user))
        return path

    def cluster_file(
        self,
        *,
        path: Path | None = None,
        nodes: Iterable[str] | None = None,
        ssh_config: Path | None = None,
        fabric: Mapping[str, str] | None = None,
        settle: int = 6,
        ray: Mapping[str, object] | None = None,
        serve: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Path:
        """Write a milepost.toml for these hosts. ``ray`` and ``serve`` add to their tables.

        It does not say ``simulated``, so that every milestone takes the way it takes on real machines;
        the GPUs' own name says it.
        """
        ray_flags = ["--num-cpus=4", "--object-store-memory=100000000", "--disable-usage-stats"]
        tables: dict[str, dict[str, object]] = {
            "serve": {**SERVE, **(serve or {})},
            "ray": {"version": vllm_env.RAY, "settle": settle, **(ray or {})},
            "ssh": {
                "config": str(ssh_config or self.ssh_config()),
                "known_hosts": str(self.home / "known_hosts"),
            },
            "env": {**ENV, **(env or {})},
        }
        lines = ['name = "real-hosts"', f'venv = "{vllm_env.MOUNTED_AT}"', ""]
        for number, name in enumerate(nodes or self.names):
            lines += [
                "[[nodes]]",
                f'host = "node-{name}"',
                f'name = "node-{name}"',
                f"gpus = {self.gpus[name]}",
            ]
            lines += [f'role = "{"worker" if number else "head"}"']
            lines += [f'fabric_ip = "{(fabric or {}).get(name) or self.network.fabric_ip(name)}"', ""]
            tables["ray"].setdefault(
                "head_flags" if not number else "worker_flags", [*ray_flags, f"--num-gpus={self.gpus[name]}"]
            )
        for title, values in tables.items():
            if values:
                lines += [
                    f"[{title}]",
                    *(f"{key} = {json.dumps(value)}" for key, value in values.items()),
                    "",
                ]
        target = path or self.folder / "milepost.toml"
        target.write_text("\n".join(lines))
        return target
