"""``python -m wizard_steps.lab``: a lab to look at by hand, until Ctrl-C. For developers."""

from __future__ import annotations

import asyncio
import signal
import sys

from wizard_steps.errors import MilepostError
from wizard_steps.lab.lab import Lab


async def run() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Lab.start() as lab:
        print("SIMULATED cluster; SSH and Ray in it are real")
        print(f"cluster file: {lab.write(lab.folder / 'milepost.toml')}")
        for node in lab.cluster.node_list:
            print(f"{node.name}: {lab.ssh_command(node.name)}")
        print("Ctrl-C ends it and everything in it", flush=True)
        await stop.wait()


def main() -> int:
    try:
        asyncio.run(run())
    except MilepostError as error:
        print(f"milepost lab: {error}", file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
