"""Run the workflow: one build at a time in a checkout, and nothing left running when it ends, however it ends.

build.py book JOBS [TARGET...]           the book, or other files of the workflow
build.py sweep JOBS PROFILE EXECUTOR     the tables of the initialization sweep
build.py seeds JOBS COUNT EXECUTOR       what the claims come to under fresh seeds
"""

import importlib.util
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import sweep
from filelock import FileLock, Timeout
from project import BUILD, ERRORS, LOGS, ROOT, ProjectError, run

# Snakemake's own lock outlives a killed run; ours goes with its process.
OPTIONS = ["--snakefile", "workflow/Snakefile", "--rerun-incomplete", "--keep-going", "--nolock", "--quiet", "all"]
LOG = "BOOK_LOG"  # environment variable: the file that takes Snakemake's own errors
GRACE = 10  # seconds that running jobs have to end by themselves


class Stopped(BaseException):
    """A signal asks the build to end; its number is the argument."""


def stop(number: int, _) -> None:
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)


def build(command: str, arguments: list[str]) -> None:
    """Run Snakemake once no other build runs in this checkout, and sum up what failed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, stop)
    LOGS.mkdir(parents=True, exist_ok=True)  # raises where nothing can be written, before anything runs
    errors, log = LOGS / f"{command}.errors", LOGS / f"{command}.log"
    # Those two share notebooks.
    kind = f"make {command}" if command in ("sweep", "seeds") else "make book or make portable"
    lock = FileLock(BUILD / f".{kind.split()[1]}.lock")
    other = ""
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"another {kind} runs in this checkout: waiting for it to end", file=sys.stderr)
            lock.acquire(poll_interval=0.2)
        for old in (errors, log):
            old.unlink(missing_ok=True)
        status = snakemake(arguments, os.environ | {ERRORS: str(errors), LOG: str(log)})
        ended = "failed; its logs are in _build/logs/"
        if log.exists() and (words := log.read_text(encoding="utf-8").split()):
            other = f"error: {' '.join(words)}\n"  # Snakemake's own, such as a missing file
    except Stopped as stopped:
        print(file=sys.stderr)  # below the progress bars
        status = 128 + stopped.args[0]
        ended = "was stopped; what is finished is kept: run it again to go on"
    if status:
        found = errors.read_text(encoding="utf-8") if lock.is_locked and errors.exists() else ""
        if command == "book" and (BUILD / "html" / "index.html").exists():
            ended += "; _build/html is still the previous site"
        print(f"{found or other}make {command} {ended}", file=sys.stderr)
        sys.exit(status)


def snakemake(arguments: list[str], environment: dict[str, str]) -> int:
    """Run Snakemake in a session of its own, which ends with it, and with us."""
    parent = os.getppid()
    child = subprocess.Popen(
        [sys.executable, __file__, "snakemake", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                status = child.wait(1)
                return status if status >= 0 else 128 - status
            if os.getppid() != parent:  # make was killed
                raise Stopped(signal.SIGHUP)
    except Stopped:
        with suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
            child.send_signal(signal.SIGINT)  # Snakemake cancels jobs on a cluster,
            os.killpg(child.pid, signal.SIGTERM)  # and those that run here end by themselves
            child.wait(GRACE)
        raise
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


def child(arguments: list[str]) -> None:
    """Be Snakemake: import no executor that was not asked for, log every error, and end when the parent ends."""
    if os.getsid(0) == os.getpid():  # not when called by hand
        threading.Thread(target=follow, daemon=True).start()
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    if "--executor" not in arguments:
        # Snakemake imports every executor plugin that is installed, and SLURM's asks its controller on import.
        ExecutorPluginRegistry.module_prefix = "none of the installed ones"
        # And it would keep a cache in the home folder, which may not be writable, for other machines.
        arguments = ["--shared-fs-usage", "none", *arguments]
    from snakemake.cli import main
    from snakemake.logging import logger

    logging.raiseExceptions = False  # on a full disk
    log = logging.FileHandler(os.environ.get(LOG, os.devnull), mode="w", encoding="utf-8", delay=True)
    logger.addFilter(lambda record: record.levelno < logging.ERROR or log.handle(record) or True)
    main(arguments)


def follow() -> None:
    """End the session once the other end of the pipe is closed: a killed build leaves nothing that goes on."""
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


def check_jobs(jobs: str) -> None:
    if not jobs.isdecimal() or int(jobs) == 0:
        raise ProjectError(f"JOBS={jobs}: give a whole number of at least 1, such as JOBS=2")


def check_executor(executor: str) -> None:
    module = f"snakemake_executor_plugin_{executor.replace('-', '_')}"
    if executor != "local" and not (module.isidentifier() and importlib.util.find_spec(module)):
        package = f"snakemake-executor-plugin-{executor}"
        raise ProjectError(f"EXECUTOR={executor}: give local, slurm, or another for which {package} is installed")


def main() -> None:
    match sys.argv[1:]:
        case ["book", jobs, *targets]:
            check_jobs(jobs)
            build("book", ["--jobs", jobs, "--", *targets])
        case ["sweep", jobs, profile, executor]:
            check_jobs(jobs)
            sweep.profile(profile)
            check_executor(executor)
            options = [] if executor == "local" else ["--executor", executor]
            build("sweep", ["--jobs", jobs, *options, "--", f"_build/sweep/{profile}/tables/provenance.json"])
        case ["seeds", jobs, count, executor]:
            check_jobs(jobs)
            if not count.isdecimal() or int(count) == 0:
                raise ProjectError(f"SEEDS={count}: give a whole number of at least 1, such as SEEDS=50")
            check_executor(executor)
            options = [] if executor == "local" else ["--executor", executor]
            build("seeds", ["--jobs", jobs, *options, "--", f"_build/seeds/tables-{int(count)}/provenance.json"])
        case ["snakemake", *arguments]:  # within a build, or to ask what it would do
            child([*OPTIONS, *arguments])
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    run(main)
