"""Output as a node could print it, and as none should: the pasted cases with parts lost, doubled and replaced."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import strategies as st

#: What stands where a parser wants a number, a word or an end.
ODD = (
    "", "²", "-1", "1.2.3", "./.", "nan", "inf", "1e999", "9" * 5000, "٣", "\x00", "\x1b[31m", "\ufffd", "null", "[]",
    "{}", "ERR!", "[N/A]", "N/A", "[GPU requires reset]", "<html>", "HTTP/1.1 200 OK\r\n\r\n", "\r", "\t", " ", ":",
    "|", ",", "'", '"', "\n\n\n", "@@fact x exit 0", "Active:\n", "%s", "\u2028", "0x", "::", "/",
)  # fmt: skip

#: Any bytes, as they reach a judge.
BYTES = st.binary(max_size=400).map(lambda data: data.decode("utf-8", "replace"))

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["usage", "data", "choices", "message", "content", "error", "id", "detail", "object",
                         "completion_tokens", "state", "node_ip", "reasoning", "tool_calls", "text"]), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip
#: JSON of the fields that servers and Ray have, with values of any kind.
JSON = _VALUES.map(json.dumps) | st.sampled_from(
    ["[" * 100_000, '{"data":' * 50_000, '{"usage": null}', "1" * 6000]
)

#: The same as an HTTP answer.
HTTP = st.tuples(st.sampled_from([100, 200, 401, 404, 500, 502, 999]), JSON | BYTES).map(
    lambda pair: f"HTTP/1.1 {pair[0]} X\r\ncontent-type: application/json\r\n\r\n{pair[1]}"
)


@st.composite
def mutated(draw: st.DrawFn, texts: Sequence[str]) -> str:
    """One of ``texts`` with up to four changes."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 60)))
        change = draw(st.sampled_from(["drop", "double", "odd", "bytes", "cut"]))
        if change == "cut":
            text = text[:start]
        else:
            middle = {
                "drop": "",
                "double": text[start:end] * 2,
                "odd": draw(st.sampled_from(ODD)),
                "bytes": draw(BYTES),
            }[change]
            text = text[:start] + middle + text[end:]
    return text


def outputs(texts: Sequence[str]) -> st.SearchStrategy[str]:
    """Anything that a judge may get to read."""
    real = [text for text in texts if text] or [""]
    return mutated(real) | BYTES | JSON | HTTP | st.text(max_size=100)
