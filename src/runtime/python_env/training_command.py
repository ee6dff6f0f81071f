"""The command line of a training, and its variables, in the environment that was set up for it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

    from ..system.documents import RunSpec

    # The training's command line and its variables.
    Command = Tuple["list[str]", "dict[str, str]"]

# Options of `uv run` that choose what is installed: with one of them, it may install. Without, the
# environment is as it should be.
CHOOSING = {
    "--extra",
    "--all-extras",
    "--group",
    "--all-groups",
    "--only-group",
    "--no-group",
    "--only-dev",
    "--no-dev",
    "--package",
    "--all-packages",
}
CONDA_RUN = ["conda", "run", "--no-capture-output", "-p"]


class TrainingCommand:
    """`variables`: the training's. `poetry`: the words that poetry's command line begins with."""

    def __init__(
        self, spec: RunSpec, project: str, variables: dict[str, str], *, poetry: list[str]
    ) -> None:
        self.spec, self.project, self.variables, self.poetry = spec, project, variables, poetry
        self.manager = spec["environment"]["manager"]

    def without_environment(self) -> Command:
        """The command with no environment of the project's."""
        return self._command([], {})

    def inside(self, env: str, below: str) -> Command:
        """The command in a run's environment; `below` is the one that has the tool's own files."""
        path = os.path.join(env, "bin")
        if self.manager == "conda":
            # conda puts its own directories first on the PATH; the run's Python comes before them.
            script = 'PATH="$0:$PATH"; export PATH; exec "$@"'
            return self._command([*CONDA_RUN, below, "sh", "-c", script, path], {})
        more = {"VIRTUAL_ENV": env, "PATH": self._path_with(path)}
        if self.manager == "uv":
            # `uv run` in the training's own command enters it too.
            more["UV_PROJECT_ENVIRONMENT"] = env
            words = self.spec["command"] or []
            if not any(word.split("=")[0] in CHOOSING for word in words):
                more["UV_NO_SYNC"] = "1"
        return self._command([], more)

    def by_tool(self, env: str) -> Command:
        """The command after a set-up of the user's own, whose environment the tool itself finds."""
        if self.manager == "pip":
            path = self._path_with(os.path.join(env, "bin"))
            return self._command([], {"VIRTUAL_ENV": env, "PATH": path})
        prefix = {
            "uv": ["uv", "run", "--no-sync"],
            "poetry": ["poetry", "run"],
            "conda": [*CONDA_RUN, env],
        }[self.manager]
        return self._command(prefix, {})

    def _path_with(self, directory: str) -> str:
        return directory + os.pathsep + self.variables.get("PATH", "")

    def _command(self, prefix: list[str], more: dict[str, str]) -> Command:
        spec = self.spec
        command = spec["command"] or []
        if spec["script"] is not None:
            python = "python3" if self.manager == "none" else "python"
            line = [*prefix, python, os.path.join(self.project, spec["script"])]
        elif os.path.basename(command[0]) != self.manager:
            line = prefix + command
        elif self.manager == "poetry" and len(self.poetry) > 1:
            # uv runs poetry.
            line = self.poetry + command[1:]
        else:
            line = command
        return line + spec["args"], dict(self.variables, **more)
