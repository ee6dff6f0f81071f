"""Whether an instance has the tool that sets up a project's environment, or can fetch it."""

from __future__ import annotations

import os
import re
import shutil

from ..system import account as accounts
from . import builders, package_index, uv_tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable, TypedDict

    from ..system.documents import EnvironmentTool

    class Tool(TypedDict):
        tool: str
        found: str | None
        needed: bool
        why: str | None
        fix: str


GET_UV = (
    'install uv for the training\'s user ("curl -LsSf https://astral.sh/uv/install.sh | sh"), or set "train.packageIndex" to an index that has it'
)
# An index that needs none of the project's files.
REMOTE = re.compile(r"https?://", re.IGNORECASE)


def look(
        part: EnvironmentTool, root: str, *, account: pwd.struct_passwd, variables: dict[str, str],
        pause: Callable[[float], object]) -> Tool | None:
    """{"tool", "found": its path or None, "needed", "why", "fix"}; None where Python alone sets the environment up.

    `part`: {"manager", "installer", "locked", "packageIndex", "packageIndexes": those of requirements files}. A uv that is
    missing is fetched, as a set-up would. It is not needed if it may come from a place among files that are not here yet."""
    manager = part["manager"]
    path = variables.get("PATH")
    # uv runs a poetry that the instance lacks, in the version that wrote the lock file.
    if manager == "conda" or (manager == "poetry" and (shutil.which("poetry", path=path) or not part["locked"])):
        tool, how = builders.TOOLS[manager]
        return {"tool": tool, "found": shutil.which(tool, path=path), "needed": True, "why": "not on the PATH of %s" % account.pw_name, "fix": "%s: %s" % (tool, how)}
    if manager in ("none", "conda") or (manager == "pip" and part["installer"] == "pip"):
        return None
    needed = manager != "pip" or (part["installer"] == "uv" and all(REMOTE.match(each) for each in part["packageIndexes"]))
    found, why = shutil.which("uv", path=path), None
    try:
        found = found or os.path.join(uv_tool.ensure(root, dict(variables, **package_index.variables(part["packageIndex"])), account, part["packageIndexes"], lambda _: None, pause), "uv")
    except uv_tool.Unavailable as reason:
        why = "not on the PATH of %s, and can't be fetched: %s" % (account.pw_name, reason)
    return {"tool": "uv", "found": found, "needed": needed, "why": why, "fix": GET_UV if needed else "pip installs the packages instead, or: " + GET_UV}


def ready(plan, root):
    """What a training needs of the instance, asked before its files are sent."""
    import time

    account = accounts.training_user(plan.get("user"))
    os.makedirs(root, exist_ok=True)
    tool = look(plan["environment"], root, account=account, variables=accounts.login_environment(account), pause=time.sleep)
    missing = {name: tool[name] for name in ("tool", "why", "fix")} if tool and tool["needed"] and not tool["found"] else None
    return {"missing": missing, "free": shutil.disk_usage(root).free}
