"""Words in a command that stand for a value: filled in where it is known.

A command of a finding can be pasted as it is. One with an open word is told in the sentence of its action
instead, with what the word stands for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address

from msgspec.structs import replace

from wizard_steps.diagnose.model import Action, Diagnosis

MEANING = {
    "IFACE": "the interface of the cluster network on that node (`ip -br -4 addr`)",
    "THIS_NODE_IP": "that node's own address in the cluster network",
    "OTHER_IP": "the address of the other node",
    "WORKER_IP": "the address of the worker",
    "HEAD_IP": "the address of the head in the cluster network",
    "HEAD": "the name of the head",
    "NODE": "the name of that node",
    "HOST": "the host name of that node",
    "JUMPHOST": "the host between",
    "USER": "the user who logs in there",
    "IMAGE": "the image",
    "CONTAINER": "the name of the container",
    "REGISTRY": "the registry of the image",
    "MODEL": "the model",
    "MODEL_PATH": "the folder of the model",
    "HF_HOME": "the folder of the model cache",
    "VERSION": "the version of the other nodes",
    "PACKAGE": "the package",
    "PATH": "the folder",
    "FILE": "the file",
    "NAME": "the name",
    "UNIT": "the unit",
    "PROGRAM": "the program in ExecStart",
    "PORT": "the port",
    "TP": "the tensor parallel size",
}
#: Not `$USER`, `PATH=…` or a part of a longer word.
_WORD = re.compile(rf"(?<![\w$.-])(?:{'|'.join(MEANING)})(?![\w=])")


def filled(command: str, values: Mapping[str, str]) -> str:
    """``command`` with the words that are known; ``values`` must be safe in a shell."""
    return _WORD.sub(lambda match: values.get(match[0], match[0]), command)


def known(values: Mapping[str, str], node: str) -> dict[str, str]:
    """What the values of a text say of these words; a node that is named by its address has that address."""
    model = values.get("model", "")
    found = {
        "HEAD_IP": values.get("head_ip", ""),
        "THIS_NODE_IP": node if _is_address(node) else values.get("own_ip", ""),
        "IMAGE": values.get("image", ""),
        "CONTAINER": values.get("container", ""),
        "MODEL": model,
        "MODEL_PATH": model if model.startswith("/") else "",
        "TP": values.get("tp", ""),
    }
    return {word: value for word, value in found.items() if value}


def closed(finding: Diagnosis) -> Diagnosis:
    """The finding with commands that can be pasted, and the others told in words."""
    return replace(finding, try_=tuple(_closed(action) for action in finding.try_))


def _closed(action: Action) -> Action:
    if not (open_words := meanings(action.command)):
        return action
    return Action(f"{action.text} Fill in `{action.command}`: {open_words}.")


def meanings(command: str) -> str:
    """What each open word of it stands for; "" when none is open."""
    words = dict.fromkeys(_WORD.findall(command))
    return ", ".join(f"{word} is {MEANING[word]}" for word in words)


def _is_address(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return False
