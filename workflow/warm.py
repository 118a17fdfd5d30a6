"""Run tests again and again, each time in a new process that has imported already what takes long.

warm.py: one request a line, ``[seconds or null, arguments of pytest]``; one answer, ``[status or null, output]``,
without a status where the tests did not end in time. It tests the checkout that it is started in.
"""

import json
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress

import matplotlib.pyplot  # noqa: F401
import nbformat  # noqa: F401
import numpy as np  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import torch  # noqa: F401


def answer(limit: float | None, arguments: list[str], parent: int) -> tuple[int | None, str]:
    with tempfile.TemporaryFile() as output:
        if (child := os.fork()) == 0:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            sys.exit(pytest.main(arguments))
        began, status = time.monotonic(), None
        while status is None:
            ended, code = os.waitpid(child, os.WNOHANG)
            if ended:
                status = os.waitstatus_to_exitcode(code)
            elif (limit and time.monotonic() - began > limit) or os.getppid() != parent:
                break
            else:
                time.sleep(0.01)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)  # and whatever the tests have left running
        if status is None:
            os.waitpid(child, 0)
        output.seek(0)
        return status, output.read().decode(errors="replace")


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # as for `python -m pytest`
    starter = os.getppid()
    for line in sys.stdin:
        print(json.dumps(answer(*json.loads(line), starter)), flush=True)
