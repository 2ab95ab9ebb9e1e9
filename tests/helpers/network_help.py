"""The cluster of the tests of the network gates."""

from __future__ import annotations

from wizard_steps.cluster.file import Cluster, parse


def cluster(names: str = "ab", more: str = "") -> Cluster:
    nodes = "".join(
        f'[[nodes]]\nname = "{name}"\nhost = "gpu-{name}"\ngpus = 8\nrole = "{"worker" if i else "head"}"\n'
        for i, name in enumerate(names)
    )
    return parse(f"{more}\n{nodes}")
