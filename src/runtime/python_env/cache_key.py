"""The name of a shared environment: the hash of whatever decides what is in it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess

from ..system import account as accounts
from ..system.file_hash import hash_file
from ..system.program_output import read_output
from . import package_index, requirements

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Mapping

    from ..system.documents import RunSpec
    from .dependency_files import DependencyFiles

# Enough to tell them apart; a longer path would not fit into the first line of a script (127
# bytes).
KEY_LENGTH = 32
SETTINGS = re.compile(
    r"(PIP|UV|POETRY|CONDA|MAMBA)_.*|CC|CXX|CFLAGS|CXXFLAGS|LDFLAGS|CMAKE_ARGS|CUDA_HOME"
)
# Credentials of an index, which differ every day and change nothing in it.
CREDENTIALS = re.compile(r".*(PASSWORD|TOKEN|USERNAME|HTTP_BASIC|NETRC|CERT).*")
VERSION_TIMEOUT_S = 30
MAX_VERSION_BYTES = 64 * 1024
# Lists of places, divided by blanks (pip) or commas (uv).
LINKS = (
    "PIP_FIND_LINKS",
    "UV_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
)


def key(
    spec: RunSpec,
    dependency_files: DependencyFiles,
    *,
    variables: Mapping[str, str],
    account: pwd.struct_passwd,
    tools: list[str],
) -> str:
    """`tools`: the programs that make the environment; a tool that uv runs is named by its
    requirement.
    """

    def hash_archives() -> dict[str, str]:
        return {
            os.path.relpath(path, dependency_files.work): hash_file(path)
            for path in linked(variables, dependency_files.root)
        }

    paths = [shutil.which(tool, path=variables.get("PATH")) or "" for tool in tools]
    said = {
        "v": 1,
        "manager": dependency_files.kind,
        "root": spec["environment"]["root"],
        "file": spec["environment"]["file"],
        "files": dependency_files.hashes,
        "layout": dependency_files.layout,
        "links": accounts.act(account, hash_archives),
        "machine": [os.uname()[i] for i in (0, 4)],
        "libc": list(platform.libc_ver()),
        "system": release(),
        "tools": tools[:1] + versions(tools, variables, account=account, cwd=dependency_files.root),
        "paths": [os.path.realpath(path) for path in paths],
        "index": package_index.without_credentials(spec.get("packageIndex") or ""),
        "account": [account.pw_name, account.pw_uid],
        "settings": {
            name: package_index.without_credentials(value)
            for name, value in variables.items()
            if SETTINGS.fullmatch(name) and not CREDENTIALS.fullmatch(name)
        },
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]


def linked(variables: Mapping[str, str], directory: str) -> list[str]:
    """Archives that lie where a variable has pip or uv look for packages."""
    places = [place for name in LINKS for place in re.split(r"[\s,]+", variables.get(name) or "")]
    return sorted({path for place in places for path in requirements.archives(place, directory)})


def release() -> list[str]:
    """The system's id and version: libraries that packages are built against come with it."""
    rows: dict[str, str] = {}
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            rows = dict(line.strip().split("=", 1) for line in file if "=" in line)
    except OSError:
        pass
    return [rows.get("ID", "").strip('"'), rows.get("VERSION_ID", "").strip('"')]


def versions(
    tools: list[str], variables: Mapping[str, str], *, account: pwd.struct_passwd, cwd: str
) -> list[str | None]:
    """What each tool prints as its version, all asked at once; None where it prints none."""
    asked: list[subprocess.Popen[bytes] | None] = []
    for tool in tools:
        try:
            child = subprocess.Popen(
                [tool, "--version"],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: accounts.enter(account, cwd),
            )
        except (OSError, subprocess.SubprocessError):
            child = None
        asked.append(child)
    return [version_of(child) if child else None for child in asked]


def version_of(child: subprocess.Popen[bytes]) -> str | None:
    try:
        printed = read_output(child, limit=MAX_VERSION_BYTES, timeout=VERSION_TIMEOUT_S)
        return printed.decode("utf-8", "replace").strip()
    except subprocess.TimeoutExpired:
        child.kill()
        # What it started may hold its output open for ever.
        if child.stdout:
            child.stdout.close()
        child.wait()
        return None
