"""A batch on the machines of a Ray cluster, which all see the same files under the same names.

A job is a Ray task: when the machine it runs on is lost, Ray starts it again on another, where it
goes on after its last finished part.
"""

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from dubcli.batch.ledger import Ledger
from dubcli.batch.records import FAILED, Job
from dubcli.batch.worker import Dubber, Outcome, Task
from dubcli.config import DubOptions
from dubcli.errors import DubError, InputError, MissingExtraError
from dubcli.records import Progress

EXTRA = "ray"
RETRIES = 3  # of a job whose machine or process is lost; a failure of its own is told at once
REACH_S = 10.0  # within which the cluster's head answers
WAIT_S = 1.0  # between two looks at how large the cluster is

_dubbers: dict[tuple[DubOptions, tuple[tuple[str, str], ...]], Dubber] = {}


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Give Ray, connected to a cluster; tasks still at work at the end are ended.

    Args:
        address: As ``ray.init`` has it.

    Raises:
        InputError: If there is no cluster at the address, or Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(EXTRA) from error
    try:
        _reach(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(
            f"--address {address}: no Ray cluster there; start one with: ray start --head"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raise OSError if nobody listens at a host and port: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in address:
        socket.create_connection((host, int(port)), REACH_S).close()


def work_in_cluster(ray: Any, ledger: Ledger, checkpoints: Mapping[str, str]) -> None:
    """Do the jobs of a ledger as Ray tasks.

    Each takes a GPU where the cluster has any, unless the device is the CPU; otherwise as many
    cores as it has threads.

    Args:
        ray: From ``connected``.
        ledger: Takes what becomes of each job.
        checkpoints: Name -> SHA-256 of the weights.
    """
    shared = ledger.plan.options
    options = replace(shared, threads=shared.threads or 1)
    gpu = shared.device != "cpu" and bool(ray.cluster_resources().get("GPU"))
    name, each = ("GPU", 1) if gpu else ("CPU", options.threads)
    share = {"num_gpus": 1} if gpu else {"num_cpus": options.threads}
    attempt = ray.remote(max_retries=RETRIES, scheduling_strategy="SPREAD", **share)(_attempt)
    at_work: dict[Any, Job] = {}
    ledger.begin()
    while True:
        room = max(1, int(ray.cluster_resources().get(name, 0) // each))
        while len(at_work) < (ledger.options.workers or room) and (task := ledger.take()):
            at_work[attempt.remote(task, options, dict(checkpoints))] = task.job
        if not at_work:
            return
        for done in ray.wait(list(at_work), timeout=WAIT_S)[0]:
            job = at_work.pop(done)
            try:
                outcome = ray.get(done)
            except ray.exceptions.RayError as error:
                outcome = Outcome(FAILED, message=_lost(job, error), exit_code=DubError.exit_code)
            ledger.close(job, outcome)


def _lost(job: Job, error: Exception) -> str:
    """Return why a task has no outcome."""
    return (
        f"{job.video}: lost with its machine {RETRIES + 1} times ({type(error).__name__}); see "
        "whether the machines have enough memory and the same dubcli, and start the batch again"
    )


def _attempt(task: Task, options: DubOptions, checkpoints: dict[str, str]) -> Outcome:
    """Do a task; what a machine of the cluster runs. The networks stay for the next one."""
    key = options, tuple(sorted(checkpoints.items()))
    dubber = _dubbers.setdefault(key, Dubber(options, checkpoints))
    return dubber.attempt(task, _silent)


def _silent(progress: Progress) -> None:
    """Tell nobody: a task has no way back but its outcome."""
