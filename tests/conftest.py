import os
import re
import signal
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

ROOT = Path(__file__).resolve().parent.parent

os.environ.setdefault("MPLBACKEND", "Agg")
for name in [name for name in os.environ if name.startswith("MAKE") or name == "MFLAGS"]:
    del os.environ[name]  # what `make test` tells a make that it calls
sys.path.insert(0, str(ROOT / "workflow"))  # its scripts import each other
# A script's background jobs ignore it, and so would what tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples for everybody, or, by --hypothesis-profile=random, others every time.
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=60, database=None)
settings.register_profile(
    "random",
    deadline=None,
    derandomize=False,
    max_examples=500,
    database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis"),  # examples that failed, tried first the next time
    print_blob=True,
)
settings.load_profile("ci")


def pytest_configure(config):
    if not os.access(config.rootpath, os.W_OK):  # pytest would warn that it cannot keep which tests failed
        for name in ("lfplugin", "nfplugin"):
            config.pluginmanager.unregister(name=name)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def rejects(generator):
    """Assert that ``call(generator)`` raises an error that says ``message``, before anything was drawn."""

    def check(error: type[Exception], message: str, call) -> None:
        own, default = generator.get_state(), torch.get_rng_state()
        with pytest.raises(error, match=re.escape(message)):
            call(generator)
        assert torch.equal(generator.get_state(), own)
        assert torch.equal(torch.get_rng_state(), default)

    return check
