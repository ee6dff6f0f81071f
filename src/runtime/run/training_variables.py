"""What a training finds in its environment: docs/reference/configuration.md, "Variables of the training"."""
import json
import os
import re
import socket

from ..system import atomic_files

# What a local instance is known by and where it finds its role; how its programs reach local AWS instead of AWS.
LOCAL = ("NX_EC2_LOCAL_INSTANCE", "AWS_EC2_METADATA_SERVICE_ENDPOINT")
LOCAL_AWS = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")


def in_local_instance(variables, environment=os.environ):
    """The variables, with those of the local instance that this process is in. On EC2, the variables alone."""
    if "NX_EC2_LOCAL_INSTANCE" not in environment:
        return variables
    here = {name: environment[name] for name in LOCAL + LOCAL_AWS if name in environment}
    # The user's own endpoint or region holds.
    return dict(here, **{name: value for name, value in variables.items() if name not in LOCAL or name not in here})


def variables_of(part, record, home, project):
    """Ours, which hold whatever the login shell says, and those that give way to what the training is told otherwise."""
    output = os.path.join(project, part["outputDir"])
    checkpoints = os.path.join(home, "checkpoints")
    git = part["metadata"].get("git") or {}
    given = hyperparameters(part["args"])
    ours = {
        "NX_EC2_RUN_ID": part["id"], "NX_EC2_ATTEMPT": str(record["attempt"]), "NX_EC2_PROJECT": part["project"],
        "NX_EC2_OUTPUT_DIR": output, "NX_EC2_CHECKPOINT_DIR": checkpoints,
    }
    others = {
        "PYTHONUNBUFFERED": "1",
        "SM_MODEL_DIR": output, "SM_OUTPUT_DIR": output, "SM_OUTPUT_DATA_DIR": output, "SM_CHECKPOINT_DIR": checkpoints,
        "SM_HOSTS": json.dumps([socket.gethostname()]), "SM_CURRENT_HOST": socket.gethostname(),
        "SM_NUM_CPUS": str(part["limits"]["cores"] or len(os.sched_getaffinity(0))),
        "SM_NUM_GPUS": str(len(record["gpus"]) if record["resources"]["gpus"] else record["totalGpus"]),
        "SM_HPS": json.dumps(given),
        "WANDB_RUN_ID": part["id"], "WANDB_RESUME": "allow",
        "WANDB_GIT_COMMIT": git.get("commit"), "WANDB_GIT_REMOTE_URL": git.get("remote"),
    }
    for name, value in given.items():
        others["SM_HP_" + variable_name(name)] = value if isinstance(value, str) else json.dumps(value)
    names = [each["path"].rsplit("/", 1)[-1] for each in part["datasets"]]
    others["SM_CHANNELS"] = json.dumps(sorted(names))
    for name, each in zip(names, part["datasets"]):
        others["SM_CHANNEL_" + variable_name(name)] = os.path.join(project, each["path"])
    if record["resources"]["gpus"]:
        ours["CUDA_VISIBLE_DEVICES"] = ",".join(str(gpu) for gpu in record["gpus"])
    if part["limits"]["cores"]:
        others["OMP_NUM_THREADS"] = str(part["limits"]["cores"])
    return ours, {name: value for name, value in others.items() if value is not None}


def variable_name(text):
    """A text as the end of a variable's name: capital letters, digits and underscores."""
    return re.sub(r"[^A-Z0-9]+", "_", text.upper()).strip("_")


PLACEHOLDER = re.compile(r"(?<!\{)\{(checkpointDir|outputDir|runId|project)\}(?!\})")


def expander(part, home, project):
    """A function that replaces `{checkpointDir}`, `{outputDir}`, `{runId}` and `{project}` in a text, once. Other braces
    stay, and so does `{{name}}`."""
    values = {
        "checkpointDir": os.path.join(home, "checkpoints"), "outputDir": os.path.join(project, part["outputDir"]),
        "runId": part["id"], "project": part["project"],
    }
    return lambda text: PLACEHOLDER.sub(lambda match: values[match.group(1)], text)


def expanded(part, home, project):
    """The specification of a run with its placeholders replaced in the arguments, the command and the variables. Values of
    secrets stay as they are."""
    expand = expander(part, home, project)
    words = {name: part[name] and [expand(word) for word in part[name]] for name in ("args", "command", "resumeArgs")}
    env = {name: value if name in part["mask"] else expand(value) for name, value in part["env"].items()}
    return dict(part, env=env, **words)


def hyperparameters(args):
    """`--name value`, `--name=value` and `--flag` as an object: numbers and booleans as such."""
    found, at = {}, 0
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


def write_down(home, directory, variables, secrets, account):
    """What a shell, or a command, beside the training needs to find what it finds: all but the values of secrets."""
    open_to_all = {name: value for name, value in variables.items() if name not in secrets}
    known = {"directory": directory, "variables": open_to_all, "withheld": sorted(secrets), "user": account.pw_name}
    atomic_files.write_json(os.path.join(home, "environment.json"), known, 0o600)
