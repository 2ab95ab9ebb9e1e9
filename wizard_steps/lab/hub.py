"""A small hub on loopback that answers as Hugging Face does for a gated model. SIMULATED."""

from __future__ import annotations

import asyncio

LISTEN = "127.0.0.1"
#: Seconds for a request to arrive, and its bytes at most.
LIMIT, LONGEST = 10.0, 16384


def answer(request: bytes) -> bytes:
    """401 without a token, 403 with one whose owner has not accepted the licence."""
    told = any(line.lower().startswith(b"authorization:") for line in request.split(b"\r\n"))
    status = b"403 Forbidden" if told else b"401 Unauthorized"
    return (
        b"HTTP/1.1 " + status + b"\r\nServer: SIMULATED-hub\r\nX-Error-Code: GatedRepo\r\n"
        b"X-Error-Message: Access to this model is restricted. (SIMULATED)\r\n"
        b"Content-Length: 0\r\nConnection: close\r\n\r\n"
    )


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(LIMIT):
            request = await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(request))
            await writer.drain()
    except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def listen(port: int) -> asyncio.Server:
    return await asyncio.start_server(_serve, LISTEN, port, limit=LONGEST)
