import os
import re
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")
for name in [name for name in os.environ if name.startswith("MAKE") or name == "MFLAGS"]:
    del os.environ[name]  # what `make test` tells a make that it calls
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow"))  # its scripts import each other

settings.register_profile("srlib", deadline=None, derandomize=True, max_examples=60, database=None)
settings.load_profile("srlib")


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
