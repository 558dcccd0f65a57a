"""Runs a batch: hands jobs to worker processes, of this machine or of a cluster."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import connection as connections
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from dubcli.batch.cluster import connected, work_in_cluster
from dubcli.batch.ledger import Ledger, OnJob, open_ledger
from dubcli.batch.records import FAILED, BatchReport, Job, Plan
from dubcli.batch.worker import Outcome, Task, work
from dubcli.config import BATCH_DEFAULTS, BatchOptions, DubOptions
from dubcli.errors import DubError
from dubcli.loading import verified_checkpoints, worker_devices

LEAVE_S = 20.0  # that a worker gets to remove what it has half written


def run_batch(
    plan: Plan, *, options: BatchOptions = BATCH_DEFAULTS, on_job: OnJob | None = None
) -> BatchReport:
    """Dub every job of a plan that is not done already; one that fails does not stop the others.

    Each job runs in a worker process. They are spawned: a script that calls this needs the usual
    ``if __name__ == "__main__":``.

    Args:
        plan: From ``plan_batch``.
        options: See ``BatchOptions``.
        on_job: Called when a job changes its state, and with the progress of those at work here.

    Returns:
        Where every job stands.

    Raises:
        InputError: If the folder cannot be written, another batch is at work there or the device
            or the cluster cannot be had. As CollectedInputError, if files stand where outputs go
            that no batch wrote.
        CheckpointError: If a model file is missing or altered.
        MediaError: If the status file cannot be written.
    """
    checkpoints = verified_checkpoints(plan.options)
    if options.engine == "ray":
        with connected(options.address) as ray, open_ledger(plan, options, on_job) as ledger:
            work_in_cluster(ray, ledger, checkpoints)
            return ledger.report()
    devices = worker_devices(plan.options.device)
    with open_ledger(plan, options, on_job) as ledger:
        _Run(ledger, devices, options.workers or len(devices), checkpoints).go()
        return ledger.report()


@dataclass(slots=True, eq=False)
class _Worker:
    """A process, our end of its link, where it computes and what it is at."""

    process: SpawnProcess
    link: Connection
    device: str
    job: Job | None = None


@dataclass(slots=True, eq=False)
class _Run:
    """One run by processes of this machine."""

    _ledger: Ledger
    _devices: tuple[str, ...]  # which workers share
    _most: int  # workers
    _checkpoints: Mapping[str, str]
    _workers: list[_Worker] = field(default_factory=list)

    def go(self) -> None:
        """Do the jobs."""
        self._ledger.begin()
        try:
            while self._hand_out():
                links = [worker.link for worker in self._workers if worker.job is not None]
                for link in connections.wait(links):
                    self._hear(next(each for each in self._workers if each.link is link))
        finally:
            self._end()

    def _hand_out(self) -> bool:
        """Give jobs to workers that have none; return whether any is at work."""
        busy = sum(worker.job is not None for worker in self._workers)
        while busy < self._most and (task := self._ledger.take()) is not None:
            worker = next((each for each in self._workers if each.job is None), None)
            self._give(worker or self._hire(), task)
            busy += 1
        return busy > 0

    def _give(self, worker: _Worker, task: Task) -> None:
        worker.job = task.job
        with suppress(OSError):  # it has died; _hear finds out why
            worker.link.send(task)

    def _hire(self) -> _Worker:
        """Start a worker on the device that has the fewest."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        shared = self._ledger.plan.options
        at = [worker.device for worker in self._workers]
        device = min(self._devices, key=at.count)
        options = replace(shared, device=device, threads=_threads(shared, self._most))
        process = context.Process(
            target=work, args=(theirs, self._ledger.status, options, self._checkpoints), daemon=True
        )
        with _unheard_interrupts():
            process.start()
        theirs.close()  # so that its death ends the link
        worker = _Worker(process, ours, device)
        self._workers.append(worker)
        return worker

    def _hear(self, worker: _Worker) -> None:
        """Take what a worker says; if it has died, its job has failed."""
        job = worker.job
        if job is None:
            return
        try:
            said = worker.link.recv()
        except (EOFError, ConnectionResetError):
            self._workers.remove(worker)
            worker.link.close()
            worker.process.join()
            said = Outcome(FAILED, message=_last_words(job, worker), exit_code=DubError.exit_code)
        if isinstance(said, Outcome):
            worker.job = None
            self._ledger.close(job, said)
        else:
            self._ledger.tell(job, said)

    def _end(self) -> None:
        """Let workers go; those that are still at a job clean up first."""
        for worker in self._workers:
            if worker.job is None:
                worker.link.close()
            else:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(LEAVE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.link.close()


def _last_words(job: Job, worker: _Worker) -> str:
    """Return why a worker is gone."""
    code = worker.process.exitcode or 0
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return (
        f"{job.video}: the worker process ended in the middle of it ({how}), perhaps for want of "
        "memory; try fewer --workers"
    )


def _threads(shared: DubOptions, workers: int) -> int:
    """Return how many threads each worker's networks get: the cores are shared out."""
    if shared.threads or workers == 1:
        return shared.threads
    return max(1, cores() // workers)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _unheard_interrupts() -> Iterator[None]:
    """Let processes that are started here be born deaf to Ctrl-C, which is for us alone."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
