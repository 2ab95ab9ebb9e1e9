"""load: how fast the server is with several requests at once, and whether all GPUs have a part in it.

Optional: `milepost load` walks it. `vllm bench serve` of the nodes' own vLLM measures; where it does not run,
milepost's own client does, through the SSH tunnel. Meanwhile every node samples its GPUs.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from wizard_steps.cluster.api import base_url, own_host, through_tunnel, tls
from wizard_steps.engine.expected import SNAPSHOTS
from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones import hang, load_use, vllm
from wizard_steps.milestones.common import failure, placed
from wizard_steps.milestones.load_numbers import LOAD, Numbers, concurrency_of, numbers
from wizard_steps.model import WIZARD, Check, Cmd, Forward, Node, Result, Results, Round, Verdict
from wizard_steps.node import api_key, remote, sample

CLIENT = "load_vllm_cluster.py"
#: The role of the sampler on a node, see ``remote``.
SAMPLER = "load"
#: Requests of a run for each one at the same time, and at least.
_EACH, _LEAST = 4, 8
#: Seconds one run may take.
_LIMIT = 1800.0
#: Samples of a soak at most, so that its length does not matter.
_SAMPLES = 900
#: Per cent of one processor from which the client measures itself.
FULL = 85.0
#: Bytes of samples that a node hands over.
_MOST = 4 << 20
#: From /metrics and nvidia-smi of idle nodes; these need a moment before and after the load.
_EVERY = 1.0


def requests(concurrency: int) -> int:
    """How many requests a run makes."""
    return max(_LEAST, _EACH * concurrency)


def bench(known: Known, concurrency: int) -> Cmd:
    """`vllm bench serve` where vLLM runs. The key goes from standard input to the name that it reads."""
    serve, load = known.cluster.serve, known.cluster.load
    url = base_url(known.cluster, own_host(known.cluster))
    argv = [
        *(placed(known).program("vllm"), "bench", "serve", "--backend=openai", "--endpoint=/v1/completions"),
        *(f"--base-url={url}", f"--model={serve.model}", f"--served-model-name={serve.name}"),
        *("--dataset-name=random", f"--random-input-len={load.input_tokens}"),
        *(f"--random-output-len={load.output_tokens}", "--ignore-eos"),
        *(f"--num-prompts={requests(concurrency)}", f"--max-concurrency={concurrency}"),
        # Other prompts in every run: the same ones would be found in the prefix cache.
        *(f"--seed={concurrency}", "--disable-tqdm"),
        *("--percentile-metrics=ttft,tpot,itl,e2el", "--metric-percentiles=99"),
        *(("--insecure",) if tls(known.cluster) else ()),
    ]
    take = (
        "while IFS= read -r line; do case $line in VLLM_API_KEY=*) "
        'export OPENAI_API_KEY="${line#*=}";; esac; done\n'
    )
    line = shlex.join(argv)
    key, guard = (api_key.NAME,), vllm.guard(known)
    cmd = Cmd(
        f"bench-{concurrency}", f"{take}exec {line}\n", timeout=_LIMIT, show=line, secrets=key, guard=guard
    )
    return placed(known).run(known.server, cmd)


def _tool(known: Known) -> Cmd:
    """Whether the server's vLLM has the tool; to start it for that would take long."""
    # Older releases cannot be told to take a certificate for another name than the address.
    able = " or '--insecure' not in open(s.origin).read()" if tls(known.cluster) else ""
    look = (
        "import importlib.util as u, sys; s = u.find_spec('vllm.benchmarks.serve'); "
        f"sys.exit(s is None{able})"
    )
    # Without vllm there (a stand-in) it raises, which is a "no" as well.
    text = f"exec {placed(known).python} -I -c {shlex.quote(look)} >/dev/null 2>&1\n"
    show = "(is vllm bench serve there?)"
    return placed(known).run(known.server, Cmd("tool", text, timeout=60, show=show, quiet=True))


def client(known: Known, key: str, concurrency: int, count: int = 0, seconds: int = 0) -> Cmd:
    """milepost's own client on the wizard's machine, for a number of requests or of seconds."""
    serve, load = known.cluster.serve, known.cluster.load
    much = f"--seconds {seconds}" if seconds else f"--requests {count or requests(concurrency)}"
    words = (
        f"--model {shlex.quote(serve.name)} --concurrency {concurrency} {much} "
        f"--input-tokens {load.input_tokens} --output-tokens {load.output_tokens} --seed {concurrency}"
    )
    script = (SNAPSHOTS / "probe" / CLIENT).read_text(encoding="utf-8")
    text = (
        f'exec "$MILEPOST_PYTHON" -EP -c {shlex.quote(script)} '
        f"{through_tunnel(known.cluster, '$MILEPOST_PORT')} {words}\n"
    )
    shown = f"python {CLIENT} {through_tunnel(known.cluster, '<tunnel>')} {words}"
    way = Forward(known.server, own_host(known.cluster), serve.port)
    secrets, guard = (api_key.NAME,), vllm.guard(known)
    return Cmd(key, text, timeout=_LIMIT + seconds, forward=way, show=shown, secrets=secrets, guard=guard)


def watch(known: Known, node: Node) -> Cmd:
    """Starts the sampler of a node, and waits for its first sample: without one the load would prove nothing.
    It outlives the connection and ends by itself."""
    load = known.cluster.load
    url = f"{base_url(known.cluster, own_host(known.cluster))}/metrics" if node == known.server else ""
    limit = _LIMIT * (len(load.concurrency) + 1) + load.soak
    every = max(_EVERY, load.soak / _SAMPLES)
    argv = ("sh", "-c", sample.again(url, every, limit))
    show = "(sample nvidia-smi" + (" and /metrics)" if url else ")")
    made = remote.launch(known.cluster, node, SAMPLER, argv, {}, key="watch")
    log = f"{remote.state_dir(known.cluster, node)}/{SAMPLER}.log"
    first = f"until [ $n -ge 100 ] || grep -q '^memory ' {log}; do n=$((n + 1)); sleep 0.2; done"
    text = f"( {made.text}\n) || exit\nn=0; {first} 2>/dev/null\n"
    return Cmd("watch", text, mutates=True, timeout=made.timeout + 60, show=show, quiet=True)


def watched(known: Known, node: Node) -> Cmd:
    """Ends it and hands over what it has seen."""
    end = remote.stop(known.cluster, node, SAMPLER, grace=2)
    log = f"{remote.state_dir(known.cluster, node)}/{SAMPLER}.log"
    # One more second: /metrics counts what has just ended.
    text = f"sleep {2 * _EVERY:g}\n( {end.text} )\nhead -c {_MOST} {log}\n"
    show = "(end the samples, and read them)"
    return Cmd("watched", text, mutates=True, timeout=end.timeout + 30, show=show, quiet=True)


class LoadStep(Step):
    id = "load"
    title = "Load: numbers, and all GPUs at work"
    short = "load"
    keys = ("warm-up", "bench-*", "client-*", "soak", "stall")
    owns = (r"load\..*",)
    effects: Mapping[str, str] = {
        "watch": "samples nvidia-smi into the node's state folder while the load runs",
        "watched": "ends that",
    }

    def rounds(self, known: Known, done: Results) -> Round | None:
        if not done.has("warm-up"):
            first = min(known.cluster.load.concurrency)
            return Round(work=((WIZARD, client(known, "warm-up", first, count=2)),))
        if numbers_of(done.get("warm-up", WIZARD)) is None and not _dry(done, "warm-up"):
            return None
        if not done.has("watch"):
            return Round(work=tuple((node, watch(known, node)) for node in known.nodes))
        if known.cluster.load.tool == "auto" and not done.has("tool"):
            return Round(work=((known.server, _tool(known)),))
        if (run := _next_run(known, done)) is not None:
            return Round(work=(run,))
        if known.cluster.load.soak and not done.has("soak"):
            most = max(known.cluster.load.concurrency)
            return Round(work=((WIZARD, client(known, "soak", most, seconds=known.cluster.load.soak)),))
        if _stalled(done) and not done.has("stall"):
            return hang.ask(known)
        if not done.has("watched"):
            return Round(work=tuple((node, watched(known, node)) for node in known.nodes))
        return None

    def undo(self, known: Known) -> Sequence[tuple[Node, Cmd]]:
        return tuple((node, remote.stop(known.cluster, node, SAMPLER, grace=2)) for node in known.nodes)

    def judge(self, known: Known, done: Results) -> Verdict:
        warm = done.get("warm-up", WIZARD)
        if numbers_of(warm) is None:
            hint = (
                "does it serve? `milepost FILE` walks the gates; look at the tunnel and the API key as well"
            )
            return Verdict(
                False, "the server did not answer the first requests", (failure(warm, WIZARD, hint),)
            )
        samples = {name: sample.read(result.text) for name, result in done.of("watched").items()}
        runs = measured(done)
        checks = [_warm_up(warm), *_runs(known, done, runs), *_limits(known, runs)]
        checks += [*load_use.checks(known, samples), *_soak(known, done, samples)]
        best = max(runs.values(), key=lambda run: run.output_tokens_per_second or 0.0, default=None)
        ok = all(check.ok for check in checks)
        said = (
            f"{best.output_tokens_per_second or 0:.0f} tokens/s at best" if best else "nothing was measured"
        )
        said = f"SIMULATED: {said}" if known.cluster.simulated else said
        summary = said if ok else "the load test did not succeed"
        return Verdict(ok, summary, tuple(checks), {LOAD: facts(runs)})


def _dry(done: Results, key: str) -> bool:
    return any(result.reason == "dry" for result in done.of(key).values())


def _next_run(known: Known, done: Results) -> tuple[Node, Cmd] | None:
    """The next concurrency; None after the last one, and after one that gave no result."""
    own = _own(known, done)
    for concurrency in known.cluster.load.concurrency:
        key = f"client-{concurrency}" if own else f"bench-{concurrency}"
        node = WIZARD if own else known.server
        if not done.has(key):
            return node, client(known, key, concurrency) if own else bench(known, concurrency)
        if numbers_of(done.get(key, node)) is None and not _dry(done, key):
            return None
    return None


def _own(known: Known, done: Results) -> bool:
    """Whether milepost's own client measures."""
    found = done.get("tool", known.server)
    return known.cluster.load.tool == "own" or (found is not None and not found.ok)


def _stalled(done: Results) -> bool:
    """Whether the soak came to a stop, for a while or for good: who it was is asked at once."""
    soak = done.get("soak", WIZARD)
    run = numbers_of(soak)
    return soak is not None and soak.reason != "dry" and (run is None or bool(run.stalls or run.failed))


def numbers_of(result: Result | None) -> Numbers | None:
    """What a run measured; None where it has no result or no request came through."""
    found = numbers(result.text) if result is not None else None
    return found if found is not None and found.requests > 0 else None


def measured(done: Results) -> dict[int, Numbers]:
    """The runs by concurrency."""
    found: dict[int, Numbers] = {}
    for result in done.items:
        concurrency = concurrency_of(result.key)
        if concurrency is not None and (run := numbers_of(result)) is not None:
            found[concurrency] = run
    return dict(sorted(found.items()))


def facts(runs: Mapping[int, Numbers]) -> dict[str, dict[str, float]]:
    """For the hand-over, by concurrency."""
    return {str(concurrency): run.compared for concurrency, run in runs.items()}


def _warm_up(result: Result | None) -> Check:
    run = numbers_of(result)
    said = run.line if run is not None else "no result"
    return Check("warm-up", True, f"{said}; not judged", node=WIZARD.name)


def _runs(known: Known, done: Results, runs: Mapping[int, Numbers]) -> Iterator[Check]:
    server = known.server
    for concurrency in known.cluster.load.concurrency:
        name, wanted = f"{concurrency} at once", f"{requests(concurrency)} requests, none failed"
        run = runs.get(concurrency)
        if run is None:
            result = done.get(f"client-{concurrency}", WIZARD) or done.get(f"bench-{concurrency}", server)
            check = failure(result, result.node if result is not None else server)
            hint = "the first error above is the cause"
            if not _own(known, done):
                hint += '; load.tool = "own" measures with milepost\'s own client instead'
            yield Check(name, False, check.found, wanted, check.node, hint)
            continue
        good = not run.failed and run.requests >= requests(concurrency)
        failed = f", {run.failed} failed" if run.failed else ""
        error = f": {run.error}" if run.error and not good else ""
        yield Check(name, good, run.line + failed + error, wanted, server.name)
    yield _how(known, done, runs)


def _how(known: Known, done: Results, runs: Mapping[int, Numbers]) -> Check:
    if not _own(known, done):
        return Check("measured by", True, "vllm bench serve", node=known.server.name)
    how = "milepost's own client, through the SSH tunnel"
    full = [str(c) for c, run in runs.items() if (run.client_cpu_percent or 0.0) >= FULL]
    if not full:
        return Check("measured by", True, how, node=WIZARD.name)
    said = f"{how}; with {', '.join(full)} at once it was at the limit of its own processor"
    hint = "the server may be faster: install vLLM's bench on the server, or use a faster machine here"
    return Check("measured by", True, said, "a client that waits", WIZARD.name, hint, warning=True)


def _limits(known: Known, runs: Mapping[int, Numbers]) -> Iterator[Check]:
    load = known.cluster.load
    for name, limit, value in (
        ("TTFT", load.max_ttft_ms, "p99_ttft_ms"),
        ("TPOT", load.max_tpot_ms, "p99_tpot_ms"),
    ):
        found = {c: number for c, run in runs.items() if (number := getattr(run, value)) is not None}
        if limit and found:
            worst = max(found, key=lambda c: found[c])
            said = f"p99 {found[worst]:.1f} ms with {worst} at once"
            yield Check(f"limit of {name}", found[worst] <= limit, said, f"at most {limit:g} ms")
        elif limit:
            yield Check(f"limit of {name}", False, "was not measured", f"at most {limit:g} ms")
    if load.min_tokens_per_second:
        best = max((run.output_tokens_per_second or 0.0 for run in runs.values()), default=0.0)
        wanted = f"at least {load.min_tokens_per_second:g}"
        yield Check("tokens per second", best >= load.min_tokens_per_second, f"{best:.1f} at best", wanted)


def _soak(known: Known, done: Results, samples: Mapping[str, Sequence[sample.NodeSample]]) -> Iterator[Check]:
    if not known.cluster.load.soak:
        return
    result = done.get("soak", WIZARD)
    run = numbers_of(result)
    if run is None:
        yield Check("soak", False, failure(result, WIZARD).found, "tokens all the time", WIZARD.name)
        yield from _who(known, done)
        return
    stalls = f", {run.stalls} stalls" if run.stalls != 1 else ", 1 stall"
    silence = run.longest_silence_seconds or 0.0
    said = f"{run.line}, {run.failed} failed{stalls}, longest silence {silence:.1f} s"
    error = f": {run.error}" if run.error else ""
    good = not run.failed and not run.stalls
    hint = "" if good else "the server's log from that time on says what happened"
    yield Check("soak", good, said + error, "no error and no stall", known.server.name, hint)
    yield from _who(known, done)
    yield from load_use.growth(samples)


def _who(known: Known, done: Results) -> list[Check]:
    """The rank that the others waited for, as far as the nodes could still say."""
    said = {name: result.text for name, result in done.of("stall").items()}
    unknown = "not proved: no node could name its ranks, and NCCL RAS did not answer"
    return hang.checks(known, said, "the load") or [
        Check("who stalled", True, unknown, "the rank is named", warning=True) for _ in [*said][:1]
    ]
