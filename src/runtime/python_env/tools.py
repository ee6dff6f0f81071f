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
    from typing import Any, Callable, Mapping, TypedDict

    from ..system.documents import EnvironmentTool

    class Tool(TypedDict):
        """`found`: its path; `why`: why it is not found; `fix`: how to install it."""

        tool: str
        found: str | None
        needed: bool
        why: str | None
        fix: str


GET_UV = (
    'install uv for the training\'s user ("curl -LsSf https://astral.sh/uv/install.sh | sh"), '
    'or set "train.packageIndex" to an index that has it'
)
# An index that needs none of the project's files.
REMOTE = re.compile(r"https?://", re.IGNORECASE)


def look(
    spec: EnvironmentTool,
    root: str,
    *,
    account: pwd.struct_passwd,
    variables: dict[str, str],
    pause: Callable[[float], object],
) -> Tool | None:
    """The tool that sets the environment up; None where Python alone does.

    A uv that is missing is fetched, as a set-up would. It is not needed if it may come from a place
    among files that are not here yet.
    """
    manager = spec["manager"]
    path = variables.get("PATH")
    # uv runs a poetry that the instance lacks, in the version that wrote the lock file.
    if manager == "conda" or (
        manager == "poetry" and (shutil.which("poetry", path=path) or not spec["locked"])
    ):
        tool, how = builders.TOOLS[manager]
        return {
            "tool": tool,
            "found": shutil.which(tool, path=path),
            "needed": True,
            "why": "not on the PATH of %s" % account.pw_name,
            "fix": "%s: %s" % (tool, how),
        }
    if manager == "none" or (manager == "pip" and spec["installer"] == "pip"):
        return None
    indexes = spec["packageIndexes"]
    needed = manager != "pip" or (
        spec["installer"] == "uv" and all(REMOTE.match(each) for each in indexes)
    )
    found, why = shutil.which("uv", path=path), None
    try:
        if not found:
            directory = uv_tool.ensure(
                root,
                dict(variables, **package_index.variables(spec["packageIndex"])),
                account=account,
                indexes=indexes,
                say=lambda _: None,
                pause=pause,
            )
            found = os.path.join(directory, "uv")
    except uv_tool.Unavailable as reason:
        why = "not on the PATH of %s, and can't be fetched: %s" % (account.pw_name, reason)
    return {
        "tool": "uv",
        "found": found,
        "needed": needed,
        "why": why,
        "fix": GET_UV if needed else "pip installs the packages instead, or: " + GET_UV,
    }


def ready(plan: Mapping[str, Any], root: str) -> dict[str, Any]:
    """What a training needs of the instance, asked before its files are sent."""
    import time

    account = accounts.training_user(plan.get("user"))
    os.makedirs(root, exist_ok=True)
    variables = accounts.login_environment(account)
    tool = look(plan["environment"], root, account=account, variables=variables, pause=time.sleep)
    missing = None
    if tool and tool["needed"] and not tool["found"]:
        missing = {"tool": tool["tool"], "why": tool["why"], "fix": tool["fix"]}
    return {"missing": missing, "free": shutil.disk_usage(root).free}
