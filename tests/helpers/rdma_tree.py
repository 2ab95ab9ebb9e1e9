"""RDMA devices as small trees of /sys, for the scripts that read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

LOCAL = "fe80:0000:0000:0000:ba59:9fff:fe11:2233"
FOUR = "0000:0000:0000:0000:0000:ffff:0a00:0001"
SIX = "fd00:0000:0000:0000:0000:0000:0000:0001"


class Tree:
    """A folder that stands for / of a node."""

    def __init__(self, root: Path) -> None:
        self.root, self.sys = root, root / "sys"

    def write(self, name: str, text: str) -> None:
        (self.sys / name).parent.mkdir(parents=True, exist_ok=True)
        (self.sys / name).write_text(f"{text}\n")

    def net(self, name: str, speed: int, bond: bool = False) -> None:
        self.write(f"class/net/{name}/speed", str(speed))
        self.write(f"class/net/{name}/mtu", "9000")
        if bond:
            (self.sys / f"class/net/{name}/bonding").mkdir()

    def device(
        self,
        name: str,
        net: str = "",
        *,
        layer: str = "Ethernet",
        node: str = "1: CA",
        gids: Sequence[tuple[str, str, str]] = (),
        more: str = "",
        port: int = 1,
    ) -> None:
        """``gids``: address, type, network device. ``more``: another thing that is there."""
        at = f"class/infiniband/{name}"
        ports = f"{at}/ports/{port}"
        for key, text in (("state", "4: ACTIVE"), ("rate", "100 Gb/sec (4X EDR)"), ("link_layer", layer)):
            self.write(f"{ports}/{key}", text)
        self.write(f"{at}/node_type", node)
        if more != "parent":
            self.write(f"{at}/device/net/{net}/mtu" if net else f"{at}/device/vendor", "1")
        if more:
            self.write(f"{at}/{more}", net)
        for index, (address, kind, owner) in enumerate(gids):
            self.write(f"{ports}/gids/{index}", address)
            self.write(f"{ports}/gid_attrs/types/{index}", kind)
            self.write(f"{ports}/gid_attrs/ndevs/{index}", owner)


def roce(owner: str, address: str = FOUR) -> list[tuple[str, str, str]]:
    return [(LOCAL, "IB/RoCE v1", owner), (LOCAL, "RoCE v2", owner), (address, "RoCE v2", owner)]
