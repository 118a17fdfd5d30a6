"""What a notebook's kernel sees, the same for `make book`, `make run`, `make test` and a plain `pytest --nbval`.

A kernel gets the caller's environment without what changes outputs or points to the caller's own files, folders of its
own to write to, one thread, and Unix sockets. What it finds installed, and the variables that choose the processor's
kernels (ATEN_CPU_CAPABILITY, MKL_CBWR, NPY_DISABLE_CPU_FEATURES, OPENBLAS_CORETYPE), stay the caller's.
"""

import atexit
import functools
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import zmq
from jupyter_client.manager import KernelManager
from project import BUILD, ProjectError

# Beginnings of names: the family goes. (ipykernel reads pytest's, and IPython takes packages from a VIRTUAL_ENV.)
DROPPED = (
    *("PYTHON", "IPY", "JUPYTER", "JPY_", "PYTEST_", "VIRTUAL_ENV"),
    *("MPL", "MATPLOTLIB", "TQDM_", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "PY_COLORS"),  # looks
    *("LC_", "LANG", "TZ", "XDG_CACHE_HOME"),
    *("OMP_", "GOMP_", "MKL_NUM_", "MKL_DOMAIN_", "MKL_DYNAMIC", "OPENBLAS_NUM_", "GOTO_NUM_"),  # threads
    *("MKL_VERBOSE", "OPENBLAS_VERBOSE", "TORCH_LOGS"),  # chatter
)
# Of these families, what says which packages there are and where bytecode goes.
KEPT = {
    *("PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "PYTHONPLATLIBDIR"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
}
THREADS = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)


def environment(base: Mapping[str, str] | None = None, *, threads: int = 1) -> dict[str, str]:
    """Return the environment of a kernel whose caller has ``base``, by default this process's own."""
    base = os.environ if base is None else base
    inherited = {name: value for name, value in base.items() if name in KEPT or not name.startswith(DROPPED)}
    own, cache = folder(temporary()), cache_folder()
    return (
        inherited
        | dict.fromkeys(THREADS, str(threads))
        | {
            "PYTHONHASHSEED": "0",
            "PYTHONUTF8": "1",  # whatever the locale, and C is the one that every machine has
            "LC_ALL": "C",
            "TZ": "UTC",
            "TMPDIR": temporary(),  # one that can be written, even if the caller's cannot
            "TQDM_DISABLE": "1",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # Agg would erase figures without an error
            "MPLCONFIGDIR": str(cache / f"matplotlib-{version('matplotlib')}"),
            "XDG_CACHE_HOME": str(cache),
            "IPYTHONDIR": str(own / "ipython"),
            "JUPYTER_CONFIG_DIR": str(own / "jupyter"),
            "JUPYTER_DATA_DIR": str(own / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(own / "jupyter"),
        }
    )


def manager(kind: type[KernelManager], sees: Mapping[str, str]) -> type[KernelManager]:
    """Return a kernel manager of this kind whose kernels are this Python's and see exactly the environment ``sees``."""

    class Manager(kind):
        def __init__(self, **options):
            super().__init__(**options)
            # Not the user's kernels: one of their names may stand for another Python.
            self.kernel_spec_manager.kernel_dirs = [str(Path(sys.prefix) / "share" / "jupyter" / "kernels")]
            if path := socket_path():
                self.transport, self.ip = "ipc", path

        def start_kernel(self, **options):
            list_fonts(sees)
            return super().start_kernel(**options | {"env": dict(sees)})

    return Manager


def socket_path() -> str | None:
    """Return where a kernel's sockets begin: kernels that start at once cannot take each other's, as they can ports.

    The system limits the length of such a path; where no short enough folder can be written, ports have to do.
    """
    for parent in (temporary(), "/tmp"):
        try:
            path = f"{folder(parent)}/{next(_sockets)}"
        except OSError:
            return None
        if len(os.fsencode(f"{path}-5")) <= zmq.IPC_PATH_MAX_LEN:  # five channels
            return path
    return None


_sockets = itertools.count()


@functools.cache
def folder(parent: str) -> Path:
    """Return a folder below ``parent`` that only this process's kernels use; it goes with the process."""
    path = tempfile.mkdtemp(prefix="kernel-", dir=parent)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


def temporary() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        raise ProjectError("no folder for temporary files can be written: set TMPDIR to one that can") from None


def cache_folder() -> Path:
    """Return where kernels share what can be made again at any time; in a read-only checkout they share nothing."""
    shared = BUILD / "cache"
    try:
        shared.mkdir(parents=True, exist_ok=True)
    except OSError:
        return folder(temporary())
    return shared if os.access(shared, os.W_OK) else folder(temporary())


def list_fonts(sees: Mapping[str, str]) -> None:
    """Let matplotlib search for fonts before a kernel does: a slow search is announced on stderr, in some cell."""
    if not any(Path(sees["MPLCONFIGDIR"]).glob("fontlist-*.json")):
        search = [sys.executable, "-c", "import matplotlib.font_manager"]
        subprocess.run(search, env=dict(sees), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
