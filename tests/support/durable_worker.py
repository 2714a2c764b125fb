"""A workflow of six steps, and a worker that may be killed: ``python durable_worker.py URL FOLDER MODE``."""

import os
import signal
import sys
import time
from pathlib import Path

from pollux_durable import configure, events, workflow

RUN = "run"
LEASE_S = 1.5


def log(folder, name):
    """Note that something was done, however the process ends."""
    with (folder / "log").open("a") as file:
        file.write(f"{name}\n")


def declare_six(folder, mode="plain"):
    """Declare the workflow. Each step notes its number; what else it does depends on the mode."""

    def step(number):
        log(folder, number)
        if mode == "dies" and number == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        while mode == "hangs" and number == 2 and not (folder / "go").exists():
            time.sleep(0.01)
        return number

    @workflow
    def six(ctx):
        total = sum(ctx.step.run(f"step {number}", step, number) for number in range(1, 7))
        ctx.step.publish_event("publish", "six", {"total": total})
        return total

    return six


def main(url, folder, mode):
    configure(url, lease_s=LEASE_S, wait_threshold_s=0.2)
    if mode == "publishes":
        for number in range(3):
            events.publish("six", data=number)
        return
    result = declare_six(Path(folder), mode).invoke(execution_id=RUN).result(120)
    sys.stdout.write(f"{result}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
