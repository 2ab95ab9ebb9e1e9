"""What JSON records of logs say: journald, Docker, Loki, collectors, terminal recordings."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

MEMBER = re.compile(r'\s*"[\w.@-]{1,80}"\s*:\s*(".*")\s*,?\s*$')
_TEXTS = ("MESSAGE", "log", "message", "msg", "textPayload", "text", "line", "content", "body")
_TIMES = ("time", "ts", "timestamp", "@timestamp")
_NODES = ("_HOSTNAME", "host", "hostname", "host_name", "node", "nodename", "Node", "nodeName")
_HOSTS = (*_NODES, "pod", "pod_name", "instance")
#: Where collectors put the host one level deeper.
_INNER = (("kubernetes", "host"), ("kubernetes", "pod_name"), ("custom_fields", "ip"), ("host", "name"))
#: What a controller logs beside its message and what the message means with. One of them ends in a colon.
_MORE = ("error", "err", "reason", "state", "state:", "status")
_LEVELS = ("level", "severity", "levelname", "lvl")


def readable(line: str) -> str:
    """What a line of JSON says, its messages held apart by line ends; any other line as it is."""
    text = line.strip().rstrip(",")
    if text[:1] not in ('"', "{", "["):
        return line
    member = MEMBER.match(line)
    try:
        return _said(json.loads(member[1] if member else text)) or ("" if member else line)
    except (ValueError, RecursionError, OverflowError):
        return line


def _said(value: Any, depth: int = 0) -> str:
    if depth > 6:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return _listed(value, depth)
    return _record(value, depth) if isinstance(value, dict) else ""


def _listed(value: list[Any], depth: int) -> str:
    raw = _bytes(value)
    if raw is not None:
        return raw
    # A line of a terminal recording: seconds, kind, text. A line of Loki: nanoseconds, text.
    if len(value) == 3 and value[1] in ("o", "i", "m", "r", "x") and isinstance(value[2], str):
        return value[2] if value[1] == "o" else ""
    if len(value) == 2 and all(isinstance(part, str) for part in value) and value[0].isdigit():
        return f"{_when(value[0])} {value[1]}".strip()
    return "\n".join(filter(None, (_said(item, depth + 1) for item in value)))


def _bytes(value: list[Any]) -> str | None:
    """journald writes a message that is not plain text as a list of byte values."""
    if len(value) < 2 or not all(type(item) is int and 0 <= item < 256 for item in value):
        return None
    return bytes(value).decode("utf-8", "replace")


def _record(record: dict[str, Any], depth: int) -> str:
    if "version" in record and ("width" in record or "term" in record):
        return ""
    if isinstance(record.get("stream"), dict) and isinstance(record.get("values"), list):
        return _stream(record)
    inner = record.get("data", record)
    if isinstance(inner, dict) and isinstance(inner.get("result"), list):
        return "\n".join(filter(None, map(_stream, inner["result"])))
    message = next((_said(record[key], depth + 1) for key in _TEXTS if record.get(key)), "")
    nested = [
        _said(value, depth + 1)
        for key, value in record.items()
        if isinstance(value, dict | list) and key not in (*_TEXTS, "custom_fields")
    ]
    if not message:
        return "\n".join(filter(None, nested))
    prefix = _prefix(record)
    message += "".join(
        f" {key.rstrip(':')}={value}"
        for key in _MORE
        if isinstance(value := record.get(key), str) and value and value not in message
    )
    first = "\n".join(prefix + line for line in message.rstrip("\n").split("\n"))
    return "\n".join([first, *filter(None, nested)])


def _stream(item: Any) -> str:
    """One stream of an answer of Loki: labels, and pairs of time and line."""
    if not isinstance(item, dict):
        return ""
    labels = item.get("stream")
    host = _first(labels if isinstance(labels, dict) else {}, _HOSTS)
    values = item.get("values")
    lines = [_said(pair) for pair in values] if isinstance(values, list) else []
    return "\n".join(f"{host} | {line}" if host else line for line in lines if line)


def _prefix(record: dict[str, Any]) -> str:
    """Time, host and program before the message, as ``journalctl -o short-iso`` prints them."""
    when, host = _stamp(record), _first(record, _HOSTS)
    program = record.get("SYSLOG_IDENTIFIER") or record.get("_COMM") or "log"
    level = str(_first(record, _LEVELS)).upper()
    level = f"{level}: " if level in ("DEBUG", "INFO", "WARN", "WARNING") else ""
    if host and re.fullmatch(r"[\w.-]{1,100}", host):
        return f"{when} {host} {program}: {level}" if when else f"{host} | {level}"
    return f"{when} {level}" if when else level


def _first(record: dict[str, Any], keys: tuple[str, ...]) -> str:
    for key in keys:
        if isinstance(record.get(key), str) and record[key]:
            return str(record[key])
    for inner, key in _INNER if keys is _HOSTS else ():
        fields = record.get(inner)
        if isinstance(fields, dict) and isinstance(value := fields.get(key), str):
            return value
    return ""


def _stamp(record: dict[str, Any]) -> str:
    micro = record.get("__REALTIME_TIMESTAMP")
    if isinstance(micro, str):
        return _when(micro)
    for key in _TIMES:
        if isinstance(value := record.get(key), str) and re.match(r"20\d\d-\d\d-\d\d.\d\d:\d\d", value):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _when(str(int(value)))
    return ""


def _when(digits: str) -> str:
    """A time in seconds, or finer, since 1970, as ISO writes it (UTC)."""
    try:
        return datetime.fromtimestamp(int(digits[:10]), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return ""
