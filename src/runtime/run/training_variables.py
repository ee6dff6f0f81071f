"""What a training finds in its environment: docs/reference/configuration.md, "Variables of the
training".
"""

from __future__ import annotations

import json
import os
import re
import socket

from ..system import atomic_files
from .node_address import free_port, node_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Callable, Collection, Mapping

    from ..system.documents import RunSpec
    from .node_variables import Nodes

# By what a local instance is recognized and where it finds its role; how its programs reach local
# AWS instead of AWS.
LOCAL = ("NX_EC2_LOCAL_INSTANCE", "AWS_EC2_METADATA_SERVICE_ENDPOINT")
LOCAL_AWS = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")


def in_local_instance(
    variables: Mapping[str, str], environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables, with those of the local instance that this process is in. On EC2, the
    variables alone.
    """
    if "NX_EC2_LOCAL_INSTANCE" not in environment:
        return dict(variables)
    here = {name: environment[name] for name in LOCAL + LOCAL_AWS if name in environment}
    # The user's own endpoint or region wins.
    for name, value in variables.items():
        if name not in LOCAL or name not in here:
            here[name] = value
    return here


def variables_of(
    spec: RunSpec,
    record: Mapping[str, Any],
    *,
    run_dir: str,
    project: str,
    nodes: Nodes | None = None,
) -> tuple[dict[str, str], dict[str, str]]:
    """(variables that override those of the login shell and of the configuration, variables that
    either of them overrides).
    """
    output = os.path.join(project, spec["outputDir"])
    checkpoints = os.path.join(run_dir, "checkpoints")
    git = spec["metadata"].get("git")
    given = hyperparameters(spec["args"])
    address = nodes.address if nodes else node_address()
    ours = {
        "NX_EC2_RUN_ID": spec["id"],
        "NX_EC2_ATTEMPT": str(record["attempt"]),
        "NX_EC2_PROJECT": spec["project"],
        "NX_EC2_OUTPUT_DIR": output,
        "NX_EC2_CHECKPOINT_DIR": checkpoints,
        "NX_EC2_NODE_RANK": "0",
        "NX_EC2_NUM_NODES": "1",
        "NX_EC2_NODE_IPS": address,
        **(nodes.variables() if nodes else {}),
    }
    others: dict[str, str | None] = {
        "PYTHONUNBUFFERED": "1",
        "SM_MODEL_DIR": output,
        "SM_OUTPUT_DIR": output,
        "SM_OUTPUT_DATA_DIR": output,
        "SM_CHECKPOINT_DIR": checkpoints,
        **(nodes.sagemaker() if nodes else sagemaker_hosts(address)),
        "SM_NUM_CPUS": str(spec["limits"]["cores"] or len(os.sched_getaffinity(0))),
        "SM_NUM_GPUS": str(gpu_count(record)),
        "SM_HPS": json.dumps(given),
        "WANDB_RUN_ID": spec["id"],
        "WANDB_RESUME": "allow",
        "WANDB_GIT_COMMIT": git["commit"] if git else None,
        "WANDB_GIT_REMOTE_URL": git["remote"] if git else None,
    }
    for name, value in given.items():
        text = value if isinstance(value, str) else json.dumps(value)
        others["SM_HP_" + variable_name(name)] = text
    names = [each["path"].rsplit("/", 1)[-1] for each in spec["datasets"]]
    others["SM_CHANNELS"] = json.dumps(sorted(names))
    for name, each in zip(names, spec["datasets"]):
        others["SM_CHANNEL_" + variable_name(name)] = os.path.join(project, each["path"])
    if record["resources"]["gpus"]:
        ours["CUDA_VISIBLE_DEVICES"] = ",".join(str(gpu) for gpu in record["gpus"])
    if spec["limits"]["cores"]:
        others["OMP_NUM_THREADS"] = str(spec["limits"]["cores"])
    return ours, {name: value for name, value in others.items() if value is not None}


def gpu_count(record: Mapping[str, Any]) -> int:
    """How many GPUs a run may use: those that it has reserved, else all."""
    return len(record["gpus"]) if record["resources"]["gpus"] else record["totalGpus"]


def sagemaker_hosts(address: str) -> dict[str, str]:
    """What a script for SageMaker reads of its hosts, of which there is one."""
    return {
        "SM_HOSTS": json.dumps([socket.gethostname()]),
        "SM_CURRENT_HOST": socket.gethostname(),
        "SM_CURRENT_HOST_RANK": "0",
        "SM_HOST_COUNT": "1",
        "SM_MASTER_ADDR": address,
        "SM_MASTER_PORT": str(free_port(address)),
    }


def variable_name(text: str) -> str:
    """A text as the end of a variable's name: capital letters, digits and underscores."""
    return re.sub(r"[^A-Z0-9]+", "_", text.upper()).strip("_")


PLACEHOLDER = re.compile(r"(?<!\{)\{(checkpointDir|outputDir|runId|project)\}(?!\})")


def expander(spec: RunSpec, run_dir: str, project: str) -> Callable[[str], str]:
    """A function that replaces `{checkpointDir}`, `{outputDir}`, `{runId}` and `{project}` in a
    text, once. Other braces stay, and so does `{{name}}`.
    """
    values = {
        "checkpointDir": os.path.join(run_dir, "checkpoints"),
        "outputDir": os.path.join(project, spec["outputDir"]),
        "runId": spec["id"],
        "project": spec["project"],
    }
    return lambda text: PLACEHOLDER.sub(lambda match: values[match.group(1)], text)


def expanded(spec: RunSpec, run_dir: str, project: str) -> RunSpec:
    """The specification of a run with its placeholders replaced in the arguments, the command and
    the variables. Values of secrets stay as they are.
    """
    expand = expander(spec, run_dir, project)
    result = spec.copy()
    result["args"] = list(map(expand, spec["args"]))
    result["command"] = spec["command"] and list(map(expand, spec["command"]))
    result["resumeArgs"] = list(map(expand, spec["resumeArgs"]))
    result["env"] = {
        name: value if name in spec["mask"] else expand(value)
        for name, value in spec["env"].items()
    }
    return result


def hyperparameters(args: list[str]) -> dict[str, Any]:
    """`--name value`, `--name=value` and `--flag` as an object: numbers and booleans as such."""
    found: dict[str, Any] = {}
    at = 0
    while at < len(args):
        word = args[at]
        at += 1
        if not word.startswith("--") or len(word) == 2:
            continue
        name, equals, value = word[2:].partition("=")
        if not equals:
            if at < len(args) and not args[at].startswith("--"):
                value, at = args[at], at + 1
            else:
                value = "true"
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def write_down(
    run_dir: str,
    directory: str,
    *,
    variables: Mapping[str, str],
    secrets: Collection[str],
    account: pwd.struct_passwd,
) -> None:
    """Writes what a shell, or a command, needs to run in the training's environment: all but the
    values of secrets.
    """
    known = {
        "directory": directory,
        "variables": {name: value for name, value in variables.items() if name not in secrets},
        "withheld": sorted(secrets),
        "user": account.pw_name,
    }
    atomic_files.write_json(os.path.join(run_dir, "environment.json"), known, 0o600)
