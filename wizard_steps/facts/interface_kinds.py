"""What a network interface is, by the names that Linux, systemd and the container engines give."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal[
    "infiniband",
    "ethernet",
    "bond",
    "bridge",
    "overlay",
    "wifi",
    "unknown",
    "loopback",
    "container",
    "usb",
    "virtual",
    "link-local",
    "down",
]

BRIDGE = "a bridge with this host's own address"
#: Routed to the host itself, as with BGP; NCCL and Gloo choose by interface, and take its first address.
ON_LOOPBACK = (
    "an address of the loopback device: NCCL and Gloo would use 127.0.0.1, its first one. Put it on a dummy "
    "interface (`ip link add fabric0 type dummy`), then set fabric_ip"
)
WIFI = "Wi-Fi: slow and shared, not meant for GPU traffic"
USB = "a USB network, often to the BMC: the same address can exist on every host"

#: (name pattern, kind, what it is). The first match wins.
_NAMES: tuple[tuple[str, Kind, str], ...] = (
    (r"lo\d*", "loopback", "loopback: only this host itself can reach it"),
    (r"docker.*|br-[0-9a-f]{6,}|podman.*|cni.*|lxcbr.*|lxdbr.*|nerdctl.*", "container", "a container bridge"),
    (r"veth.*|cali.*|flannel.*|cilium.*|lxc.*|kube-.*|nodelocaldns|weave.*|vxlan.*|genev.*|ovs-.*|antrea.*",
     "container", "made for containers"),
    (r"virbr.*|vnet.*|vmnet.*|vboxnet.*|dummy.*|ifb.*|sit\d+|gre.*|erspan.*|ip6tnl.*|tunl\d+|teql.*|nlmon.*",
     "virtual", "a virtual device of this host"),
    (r"tmfifo_net\d+", "virtual", "the link to this host's own BlueField card"),
    (r"tun.*|tap.*|wg.*|tailscale.*|zt.*|nebula.*|ppp.*", "overlay", "a VPN or tunnel: it works, but slowly"),
    (r"ib\S*", "infiniband", "InfiniBand (IPoIB): usually the GPU fabric"),
    (r"bond.*|team.*", "bond", "several links bonded together: often the front-end network"),
    (r"br\d*|bridge.*|vmbr.*", "bridge", BRIDGE),
    (r"wl.*|wifi\d*|wwan\d*|wwp.*|ath\d+|mlan\d+", "wifi", WIFI),
    # By path (enp0s20f0u1) or by MAC address, as systemd names USB devices; the BMC's by their own names.
    (r"usb\d+|rndis\d*|enx[0-9a-f]{12}|en[opPs][^u]*u\d+.*|bmc.*|idrac.*|ilo\d*|l4tbr\d*", "usb", USB),
    (r"eth.*|en.*|em\d+.*|p\d+p\d+.*|mlx.*|rdma.*|roce.*|hsn.*|net\d+.*|vlan.*", "ethernet", "Ethernet"),
)  # fmt: skip


def kind_of(name: str) -> tuple[Kind, str]:
    """What an interface is, judged by the names Linux, systemd and the container engines give."""
    for pattern, kind, what in _NAMES:
        if re.fullmatch(pattern, name):
            return kind, what
    return ("unknown", "an interface of unknown type") if name else ("unknown", "its interface is not known")
