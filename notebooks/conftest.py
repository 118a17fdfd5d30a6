"""`pytest --nbval notebooks/NN_topic.ipynb`: the notebook runs in the kernel that made its stored outputs."""

import os
import sys
from pathlib import Path

import nbval.kernel
from jupyter_client.manager import KernelManager

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow"))
import kernel

collect_ignore_glob = ["*.py"]  # the sources are no modules with doctests

# nbval has no option for what its kernels see.
nbval.kernel.KernelManager = kernel.manager(KernelManager, kernel.environment())


def pytest_configure(config):
    if not os.access(
        config.rootpath, os.W_OK
    ):  # pytest would warn that it cannot keep which tests failed
        for name in ("lfplugin", "nfplugin"):
            config.pluginmanager.unregister(name=name)
