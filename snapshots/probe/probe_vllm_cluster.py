#!/usr/bin/env python3
"""Asks a vLLM server one question through the openai client. Written by milepost; yours to keep and change.

Needs: pip install openai. An API key, if the server wants one, is read from VLLM_API_KEY.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor


def main() -> int:
    parser = argparse.ArgumentParser(description="Probe a vLLM server")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model", default="", help="default: the first model the server lists")
    parser.add_argument("--prompt", default="Explain Ray in one short paragraph.")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--requests", type=int, default=1, help="ask that many times, all at once")
    parser.add_argument("--no-verify", action="store_true", help="check no certificate (through a tunnel)")
    args = parser.parse_args()
    from openai import DefaultHttpxClient, OpenAI, OpenAIError

    client = OpenAI(
        base_url=args.base_url,
        api_key=os.environ.get("VLLM_API_KEY") or "EMPTY",
        timeout=180,
        max_retries=1,
        http_client=DefaultHttpxClient(verify=not args.no_verify),
    )
    try:
        models = [model.id for model in client.models.list()]
        print("models:", ", ".join(models))
        began = time.monotonic()

        def ask(number):
            return client.chat.completions.create(
                model=args.model or models[0],
                messages=[{"role": "user", "content": args.prompt}],
                max_tokens=args.max_tokens,
            )

        with ThreadPoolExecutor(max_workers=min(args.requests, 64)) as pool:
            replies = list(pool.map(ask, range(args.requests)))
        reply = replies[0]
    except (OpenAIError, IndexError) as error:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - began
    tokens = sum(reply.usage.completion_tokens for reply in replies if reply.usage)
    if args.requests > 1:
        print("requests answered:", len(replies))
    print("model:", reply.model)
    print("completion_tokens:", tokens)
    print(f"seconds: {seconds:.2f}")
    print("reply:", " ".join((reply.choices[0].message.content or "").split()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
