"""A notebook's kernel sees the same whoever starts it, and whatever the caller's environment holds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import zmq
from jupyter_client.manager import KernelManager
from test_workflow import BODY, ROOT, Checkout

sys.path.insert(0, str(ROOT / "workflow"))
import kernel

PROCESSOR = {  # what chooses the processor's kernels is passed on
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "NPY_DISABLE_CPU_FEATURES": "AVX512F",
    "OPENBLAS_CORETYPE": "Haswell",
}


@pytest.fixture
def hostile(tmp_path):
    """An environment in which everything that may be set is set, and no folder is where it is expected."""
    folder = tmp_path / "hostile"
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text('print("startup")\nseed = 99\n')
    spec = folder / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text('{"argv": ["false"], "display_name": "another", "language": "python"}')
    (folder / "matplotlibrc").write_text("axes.facecolor: red\n")
    temporary = folder / ("t" * (111 - len(str(folder)) - 1))  # sockets do not fit below it
    temporary.mkdir()
    return PROCESSOR | {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": "/dev/null/home",
        "TMPDIR": str(temporary),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_PATH": str(folder / "jupyter"),
        "MATPLOTLIBRC": str(folder / "matplotlibrc"),
        "MPLBACKEND": "Agg",
        "LC_ALL": "C",
        "LANG": "de_DE.UTF-8",
        "TZ": "Asia/Tokyo",
        "PYTHONUTF8": "0",
        "PYTHONHASHSEED": "5",
        "PYTHONSTARTUP": str(startup / "00.py"),
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
        "COLUMNS": "20",
        "NO_COLOR": "1",
        "VIRTUAL_ENV": str(folder),
    }


def test_the_environment_keeps_only_what_the_caller_decides(hostile):
    sees = kernel.environment(hostile)
    assert {name: sees[name] for name in PROCESSOR} == PROCESSOR
    assert (sees["PATH"], sees["PYTHONPATH"]) == (hostile["PATH"], str(ROOT))
    own = {"TZ", "PYTHONUTF8", "PYTHONHASHSEED", "MPLBACKEND", "IPYTHONDIR", "OMP_NUM_THREADS"}
    assert all(sees[name] != hostile[name] for name in own)
    own = {"TQDM_DISABLE": "1", "LC_ALL": "C", "TZ": "UTC", "PYTHONUTF8": "1", "PYTHONHASHSEED": "0"}
    assert own.items() <= sees.items()
    assert not {"LANG", "JUPYTER_PATH", "MATPLOTLIBRC", "PYTHONSTARTUP", "COLUMNS", "NO_COLOR", "VIRTUAL_ENV"} & set(
        sees
    )
    assert {sees[name] for name in kernel.THREADS} == {"1"}
    assert {kernel.environment(hostile, threads=2)[name] for name in kernel.THREADS} == {"2"}
    assert all(Path(sees[name]).is_absolute() for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"))


def test_sockets_lie_where_the_system_takes_their_path(monkeypatch, tmp_path):
    deep = tmp_path / ("t" * 111)
    folders = {"deep": deep, "/tmp": Path("/tmp/kernel-abc")}
    monkeypatch.setattr(kernel, "temporary", lambda: "deep")
    monkeypatch.setattr(kernel, "folder", folders.__getitem__)
    short = kernel.socket_path()
    assert short.startswith("/tmp/kernel-abc/")
    assert kernel.socket_path() != short, "each kernel has its own"

    folders["/tmp"] = deep
    assert kernel.socket_path() is None
    manager = kernel.manager(KernelManager, {})()
    assert manager.transport == "tcp"

    folders["deep"] = Path("/" + "t" * (zmq.IPC_PATH_MAX_LEN - len("//1000-5")))
    assert kernel.socket_path().startswith("/ttt")


def test_a_read_only_checkout_shares_no_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(kernel, "BUILD", tmp_path / "_build")
    assert kernel.cache_folder() == tmp_path / "_build" / "cache"
    (tmp_path / "file").touch()
    monkeypatch.setattr(kernel, "BUILD", tmp_path / "file" / "_build")
    assert kernel.cache_folder() == kernel.folder(kernel.temporary())


FACTS = """
# %% mystnb={"figure": {"caption": "A line.", "name": "fig-line"}, "image": {"alt": "A line."}}
import locale
import os
import shutil
import sys
import time

import matplotlib.pyplot as plt

print(plt.get_backend(), plt.rcParams["axes.facecolor"], time.strftime("%Z"), hash("a"), os.environ["OMP_NUM_THREADS"])
print(sys.flags.utf8_mode, locale.getlocale(), locale.strcoll("a", "B") > 0, shutil.get_terminal_size().columns)
print([folder for folder in sys.path if "hostile" in folder], "é")
_ = plt.plot([0, seed])
"""


def test_outputs_and_their_regression_do_not_depend_on_the_caller(hostile, tmp_path):
    checkout = Checkout(tmp_path)
    for file in ("pyproject.toml", "notebooks/conftest.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    checkout.write("01_first", BODY + FACTS)
    execute = [sys.executable, "workflow/execute.py", "notebooks/01_first.py"]
    run = {"cwd": tmp_path, "text": True, "capture_output": True, "timeout": 120, "check": False}
    reference, again = tmp_path / "notebooks" / "01_first.ipynb", tmp_path / "again.ipynb"
    assert subprocess.run([*execute, reference], **run).returncode == 0
    other = subprocess.run([*execute, again], env=hostile, **run)
    assert other.returncode == 0, other.stderr
    assert again.read_bytes() == reference.read_bytes()
    assert "image/png" in reference.read_text(encoding="utf-8")

    nbval = [sys.executable, "-m", "pytest", "--nbval", "notebooks/01_first.ipynb"]
    passed = subprocess.run(nbval, env=hostile, **run)
    assert passed.returncode == 0, passed.stdout
    reference.write_text(reference.read_text(encoding="utf-8").replace("seed 1", "seed 2"), encoding="utf-8")
    assert subprocess.run(nbval, env=hostile, **run).returncode == 1, "outputs are compared"
