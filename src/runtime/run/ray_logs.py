"""Ray's own logs of a node whose training has failed, copied to where the run keeps them: a part of
the program of ray_program.py. They have what Ray's workers print: secrets are masked as in the log.
"""

from __future__ import annotations

import os
import shutil

from .masking import Mask
from .ray_processes import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ray_processes import Settings

CHUNK_BYTES = 1 << 20


def keep_logs(settings: Settings) -> None:
    secrets = [os.environ[name] for name in settings["secrets"] if name in os.environ]

    def copy(source: str, target: str) -> str:
        mask = Mask(secrets)
        with open(source, "rb") as log, open(target, "wb") as file:
            while True:
                data = log.read(CHUNK_BYTES)
                if not data:
                    break
                file.write(mask.feed(data))
            file.write(mask.flush())
        return target

    for session in sorted(os.listdir(settings["temp"])):
        logs = os.path.join(settings["temp"], session, "logs")
        if session.startswith("session_20") and os.path.isdir(logs):
            target = os.path.join(settings["logs"], "node-%d" % settings["rank"])
            try:
                shutil.copytree(
                    logs,
                    os.path.join(target, session),
                    symlinks=True,
                    copy_function=copy,
                    dirs_exist_ok=True,
                )
                say("Ray's logs of this node are in %s" % os.path.relpath(target))
            except (OSError, shutil.Error):
                pass
