"""Values that a text gives away in passing, wherever in it: for the causes and commands of the findings."""

from __future__ import annotations

import re

from wizard_steps.cluster.flags import history, known
from wizard_steps.diagnose.literals import required

_IP = r"\d{1,3}(?:\.\d{1,3}){3}"
_PATTERNS = (
    rf"gcs at (?:address )?(?P<head_ip>{_IP}):(?P<head_port>\d+)",
    rf"existing ray cluster at address: (?P<head_ip>{_IP}):(?P<head_port>\d+)",
    rf"ray start .{{0,200}}--address[= ]['\"]?(?P<head_ip>{_IP}):(?P<head_port>\d+)",
    rf"--master-addr[= ](?P<head_ip>{_IP})",
    r"local node ip: (?P<own_ip>[\d.]+)",
    rf"bootstrap ?: using (?P<interface>[\w.@-]+):(?P<own_ip>{_IP})",
    r"net/ib : using \[0\](?P<hca>\w+):\d",
    r"'model_tag': '(?P<model>[\w./@-]+)'",
    r"llm engine \(v[^)]*\) with config: model='(?P<model>[\w./@-]+)'",
    r"vllm serve (?P<model>[\w./@-]+)",
    r"huggingface\.co/(?:api/models/)?(?P<model>(?!api/|docs/|models)[\w.-]+/[\w.-]+)",
    r"models--(?P<owner>[\w.-]+?)--(?P<repo>[\w.-]+)",
    r"(?P<image>(?:[\w.-]+/)*vllm-openai(?:-cu\d+)?:[\w.-]+)",
    r"unable to find image '(?P<image>[\w./:@-]+)' locally",
    r"\bcontainer (?P<container>milepost-[\w.-]+)",
    r"tensor_parallel_size['\"]?[=:] ?(?P<tp>\d+)",
    r"pipeline_parallel_size['\"]?[=:] ?(?P<pp>\d+)",
    r"starting vllm server on http://[\w.]+:(?P<api_port>\d+)",
)
FACTS = tuple((re.compile(pattern, re.IGNORECASE), required(pattern)) for pattern in _PATTERNS)
WORDS = tuple(sorted(frozenset().union(*(words for _, words in FACTS))))
#: Only such a value is put into a command: nothing in it means anything to a shell.
_PLAIN = re.compile(r"[\w.:/@%+=,-]{1,256}")


def found(line: str, low: str) -> dict[str, str]:
    """What one line gives away; ``low`` is the line in lower case."""
    result: dict[str, str] = {}
    for pattern, words in FACTS:
        if any(word in low for word in words) and (match := pattern.search(line)):
            result.update({name: value for name, value in match.groupdict().items() if value})
    if "owner" in result:
        result["model"] = f"{result.pop('owner')}/{result.pop('repo')}"
    return result


def flag_history(option: str) -> str:
    """Which releases of vLLM take an option, as a sentence; empty where all that are known do."""
    past, name = history(), "--" + option.lstrip("-").replace("_", "-")
    came, went = past.since.get(name), past.until.get(name)
    said = [f"came with vLLM {came}"] if came else []
    said += [f"is gone since vLLM {went}"] if went else []
    if said:
        return f"{name} {' and '.join(said)}."
    if known(name) is None:
        return f"No release of vLLM from {past.releases[0]} to {past.releases[-1]} has it."
    return ""


def plain(values: dict[str, str]) -> dict[str, str]:
    """The values that may stand in a command as they are."""
    return {name: value for name, value in values.items() if _PLAIN.fullmatch(value)}


def all_plain(text: str) -> bool:
    """Whether every word may stand in a command as it is."""
    return all(_PLAIN.fullmatch(word) for word in text.split())
