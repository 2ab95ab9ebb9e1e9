#!/usr/bin/env python3
"""A load generator for an OpenAI-compatible server: streams chats, and prints what they took.

milepost runs it on the wizard's machine, through the SSH tunnel, where the nodes' vLLM has no `vllm bench`.
Prints `name: value` lines; times in milliseconds. Needs: pip install openai. An API key, if the server wants
one, is read from VLLM_API_KEY.
"""

import argparse
import asyncio
import os
import random
import sys
import time

#: Seconds without any token from any request that count as a stall.
STALL = 10.0
#: Seconds without any token after which a load for a time ends: who hangs can be seen only while it does.
GIVE_UP = 60.0
#: Seconds between two lines of progress.
TELL = 5.0


class Tally:
    """What all requests together saw."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.between: list[float] = []
        self.per_token: list[float] = []
        self.whole: list[float] = []
        self.done = self.tokens = self.stalls = 0
        self.errors: dict[str, int] = {}
        self.longest = 0.0
        #: Words of a prompt, so that it has about as many tokens as are wanted.
        self.words = 0
        self.prompt_tokens = 0
        self.start()

    def start(self) -> None:
        """From here on it is measured."""
        self.cpu = time.process_time()
        self.began = self.last = time.monotonic()

    def failed(self, name: str) -> None:
        self.errors[name[:160]] = self.errors.get(name[:160], 0) + 1

    def token(self, now: float) -> None:
        """A stall is told when it ends, or at the end of all."""
        gap, self.last = now - self.last, now
        self.longest = max(self.longest, gap)
        if gap > STALL:
            self.stalls += 1
            print(f"stall: no token for {gap:.1f} s", flush=True)


async def one(client, args: argparse.Namespace, tally: Tally, number: int) -> None:
    began = before = time.monotonic()
    pieces = tokens = 0
    try:
        stream = await client.chat.completions.create(
            model=args.model,
            messages=prompt(args, number, tally.words),
            max_tokens=args.output_tokens,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        async for chunk in stream:
            now = time.monotonic()
            if chunk.usage:
                tokens = chunk.usage.completion_tokens or 0
                tally.prompt_tokens += chunk.usage.prompt_tokens or 0
            if not any(has_text(choice.delta) for choice in chunk.choices):
                continue
            (tally.between if pieces else tally.first).append(now - before)
            before, pieces = now, pieces + 1
            tally.token(now)
    except OpenAIError as error:
        tally.failed(f"{type(error).__name__}: {error}")
        await asyncio.sleep(0.2)
        return
    except asyncio.CancelledError:
        tally.failed("given up before its end")
        raise
    tokens = tokens or pieces
    if not tokens:
        tally.failed("no token came")
        return
    tally.done += 1
    tally.tokens += tokens
    tally.whole.append(time.monotonic() - began)
    if tokens > 1:
        tally.per_token.append((before - began - tally.first[-1]) / (tokens - 1) if pieces > 1 else 0.0)


def prompt(args: argparse.Namespace, number: int, words: int) -> list:
    chosen = random.Random(f"{args.seed} {number}").choices(WORDS, k=words)
    return [{"role": "user", "content": f"{number} " + " ".join(chosen)}]


def has_text(delta) -> bool:
    """Content, or the reasoning of a model that thinks first, under either of vLLM's names."""
    return bool(delta and (delta.content or getattr(delta, "reasoning", None)
                           or getattr(delta, "reasoning_content", None)))  # fmt: skip


async def run(args: argparse.Namespace) -> Tally:
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    key = os.environ.get("VLLM_API_KEY") or "EMPTY"
    web = DefaultAsyncHttpxClient(verify=not args.no_verify, timeout=args.timeout)
    client = AsyncOpenAI(
        base_url=args.base_url, api_key=key, timeout=args.timeout, max_retries=0, http_client=web
    )
    tally = Tally()
    numbers = iter(range(10**9))

    async def worker() -> None:
        for number in numbers:
            if time.monotonic() - tally.began >= args.seconds if args.seconds else number >= args.requests:
                return
            await one(client, args, tally, number)

    async def all_of_them() -> None:
        try:
            tally.words = await fitting(client, args)
        except OpenAIError as error:
            # With a guess instead, every prompt might be too long: that would hide this error.
            tally.failed(f"a short request to count its tokens: {type(error).__name__}: {error}")
            return
        tally.start()
        await asyncio.gather(*(worker() for _ in range(args.concurrency)))

    work = asyncio.create_task(all_of_them())
    teller = asyncio.create_task(tell(tally, work if args.seconds else None))
    try:
        await asyncio.wait([work])
        if not work.cancelled():
            work.result()
    finally:
        teller.cancel()
        await client.close()
    report(tally, time.monotonic() - tally.began)
    return tally


async def fitting(client, args: argparse.Namespace) -> int:
    """How many words make the wanted number of tokens, by what the server counts in two short prompts: a chat
    template adds tokens of its own. Raises OpenAIError."""
    few = len(WORDS)
    short, longer = [await counted(client, args, words) for words in (few, 2 * few)]
    each = (longer - short) / few
    if each <= 0:
        return args.input_tokens  # this server does not count
    return max(1, int((args.input_tokens - short) / each) + few)


async def counted(client, args: argparse.Namespace, words: int) -> int:
    """The tokens of a prompt of so many words, the same ones each time; 0 where the server does not say."""
    messages = [{"role": "user", "content": "0 " + " ".join(WORDS * (words // len(WORDS)))}]
    reply = await client.chat.completions.create(model=args.model, messages=messages, max_tokens=1)
    return reply.usage.prompt_tokens if reply.usage else 0


async def tell(tally: Tally, work: asyncio.Task | None) -> None:
    """Prints how it goes; ends ``work`` when nothing comes any more."""
    last = 0
    while True:
        await asyncio.sleep(TELL)
        silent = time.monotonic() - tally.last
        rate, last = (tally.tokens - last) / TELL, tally.tokens
        errors = sum(tally.errors.values())
        print(
            f"{time.monotonic() - tally.began:.0f} s: {tally.done} requests, {errors} errors, "
            f"{rate:.1f} tokens/s, last token {silent:.1f} s ago",
            flush=True,
        )
        if silent > GIVE_UP and work:
            print(f"gave up: no token for {silent:.0f} s", flush=True)
            if not tally.words:
                tally.failed("a short request to count its tokens was given up")
            work.cancel()
            return


def report(tally: Tally, took: float) -> None:
    tally.longest = max(tally.longest, time.monotonic() - tally.last)
    tally.stalls += time.monotonic() - tally.last > STALL
    print("requests:", tally.done)
    print("failed:", sum(tally.errors.values()))
    print(f"seconds: {took:.2f}")
    print("input_tokens:", tally.prompt_tokens)
    print("output_tokens:", tally.tokens)
    print(f"output_tokens_per_second: {tally.tokens / took if took else 0:.2f}")
    for name, values in (("ttft", tally.first), ("tpot", tally.per_token), ("itl", tally.between),
                         ("e2el", tally.whole)):  # fmt: skip
        if values:
            ordered = sorted(1000 * value for value in values)
            print(f"median_{name}_ms: {ordered[len(ordered) // 2]:.2f}")
            print(f"p99_{name}_ms: {ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]:.2f}")
    print(f"client_cpu_percent: {100 * (time.process_time() - tally.cpu) / took if took else 0:.0f}")
    print(f"longest_silence_seconds: {tally.longest:.1f}")
    print("stalls:", tally.stalls)
    for name, count in list(tally.errors.items())[:5]:
        print(f"error: {count} time{'s' * (count != 1)}: {' '.join(name.split())}")


#: Common words of one token or two in most vocabularies.
WORDS = ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school"]

if __name__ == "__main__":
    from openai import OpenAIError

    parser = argparse.ArgumentParser(description="Load an OpenAI-compatible server")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.0, help="for this long, instead of a number")
    parser.add_argument("--input-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=300.0)
    parser.add_argument("--no-verify", action="store_true", help="check no certificate (through a tunnel)")
    found = asyncio.run(run(parser.parse_args()))
    sys.exit(0 if found.done else 1)
