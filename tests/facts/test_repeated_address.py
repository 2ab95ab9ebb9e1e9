"""An address that several nodes have is no way from one to the other."""

from wizard_steps.facts.network import parse_ip_brief
from wizard_steps.facts.recommend import NodeNet, recommend


def test_a_bridge_that_every_host_has_is_never_the_fabric() -> None:
    """Clouds with /32 addresses, a host-only bridge of a name that nobody knows."""
    nets = {
        node: NodeNet(tuple(parse_ip_brief(f"ens4 UP {ip}/32\nvmnet77x UP 10.76.12.1/24\n")))
        for node, ip in (("a", "10.128.0.5"), ("b", "10.128.0.6"))
    }
    choice = recommend(nets)
    assert choice.best is not None
    assert choice.best.by_node["b"].ip == "10.128.0.6"
    assert "10.76.12.1" in {one.ip for one in choice.excluded["a"]}


def test_an_address_that_repeats_and_is_all_there_is_stays_a_problem() -> None:
    same = NodeNet(tuple(parse_ip_brief("eth0 UP 10.0.0.5/24\n")))
    assert "10.0.0.5 is on a and b" in recommend({"a": same, "b": same}).problems[0]
