"""The name under which an environment is kept: the hash of whatever decides what is in it."""
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess

from ..system import account as accounts
from ..system import atomic_files
from . import package_index, requirements

# Enough to tell them apart; a longer path would not fit into the first line of a script (127 bytes).
LENGTH = 32
SETTINGS = re.compile(r"(PIP|UV|POETRY|CONDA|MAMBA)_.*|CC|CXX|CFLAGS|CXXFLAGS|LDFLAGS|CMAKE_ARGS|CUDA_HOME")
# They open an index and change nothing in it, and are others every day.
OPENING = re.compile(r".*(PASSWORD|TOKEN|USERNAME|HTTP_BASIC|NETRC|CERT).*")
VERSION_TIMEOUT = 30
# Lists of places, divided by blanks (pip) or commas (uv).
LINKS = ("PIP_FIND_LINKS", "UV_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX")


def key(part, manifests, variables, account, tools):
    """`tools`: the programs that make the environment; a tool that uv runs is named by its requirement."""
    said = {
        "v": 1, "manager": manifests.kind, "root": part["environment"]["root"], "file": part["environment"]["file"],
        "files": manifests.hashes, "layout": manifests.layout,
        "links": accounts.act(account, lambda: {os.path.relpath(path, manifests.work): atomic_files.hash_file(path) for path in linked(variables, manifests.root)}),
        "machine": [os.uname()[i] for i in (0, 4)], "libc": list(platform.libc_ver()), "system": release(),
        "tools": tools[:1] + versions(tools, variables, account, manifests.root), "paths": [os.path.realpath(shutil.which(tool, path=variables.get("PATH")) or "") for tool in tools],
        "index": package_index.without_credentials(part.get("packageIndex") or ""), "account": [account.pw_name, account.pw_uid],
        "settings": {
            name: package_index.without_credentials(value) for name, value in variables.items() if SETTINGS.fullmatch(name) and not OPENING.fullmatch(name)
        },
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:LENGTH]


def linked(variables, directory):
    """Archives that lie where a variable has pip or uv look for packages."""
    places = [place for name in LINKS for place in re.split(r"[\s,]+", variables.get(name) or "")]
    return sorted({path for place in places for path in requirements.archives(place, directory)})


def release():
    """The system's id and version: libraries that packages are built against come with it."""
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            rows = dict(line.strip().split("=", 1) for line in file if "=" in line)
    except OSError:
        rows = {}
    return [rows.get("ID", "").strip('"'), rows.get("VERSION_ID", "").strip('"')]


def versions(tools, variables, account, cwd):
    """What each tool says of itself, all asked at once."""
    asked = []
    for tool in tools:
        try:
            asked.append(subprocess.Popen(
                [tool, "--version"], env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                preexec_fn=lambda: accounts.enter(account, cwd),
            ))
        except (OSError, subprocess.SubprocessError):
            asked.append(None)
    said = []
    for child in asked:
        try:
            said.append(child.communicate(timeout=VERSION_TIMEOUT)[0].decode("utf-8", "replace").strip() if child else None)
        except subprocess.TimeoutExpired:
            child.kill()
            # What it started may hold its output open for ever.
            child.stdout.close()
            child.wait()
            said.append(None)
    return said
