"""How many GPUs the machine has."""

from __future__ import annotations

import os
import subprocess

# A driver that hangs does not answer.
GPU_TIMEOUT_S = 20.0


def count_gpus() -> int:
    """How many GPUs the machine has. The driver tells at once; nvidia-smi, where there is no such
    list, takes a second.
    """
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        pass
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=GPU_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return (
        sum(
            line.strip().isdigit() for line in listed.stdout.decode("utf-8", "replace").splitlines()
        )
        if listed.returncode == 0
        else 0
    )
