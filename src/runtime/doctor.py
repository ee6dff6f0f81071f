"""What only the instance can tell: each check a name, an answer, a detail, a fix."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import subprocess
import tempfile
import time
from email.utils import parsedate_to_datetime

from .aws import presigned
from .aws.bucket import open_bucket
from .aws.credentials import instance_role
from .aws.endpoints import service_url
from .aws.signed_requests import Service
from .system import account as accounts
from .system.errors import Failure
from .system.program_output import read_output

# Of pip, when it is asked whether it reaches the package index.
PIP_TIMEOUT_S = 20
MAX_PIP_BYTES = 64 * 1024

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Protocol

    from .system.documents import (
        DoctorCheck,
        DoctorOperation,
        DoctorOperationProbe,
        DoctorOperationSecret,
        DoctorReply,
        EnvironmentTool,
        StoreAccess,
    )

    class Add(Protocol):
        """Adds a check to the report. `ok`: None where it is neither right nor wrong."""

        def __call__(
            self, name: str, ok: bool | None, detail: str, *, fix: str | None = None
        ) -> None: ...


# The name of the store's secret in the report: whoever reads it can sign any record of the store.
SECRET = "the store's secret is kept from the role"


def check(plan: DoctorOperation, root: str) -> DoctorReply:
    checks: list[DoctorCheck] = []

    def add(name: str, ok: bool | None, detail: str, *, fix: str | None = None) -> None:
        checks.append({"name": name, "ok": ok, "detail": detail, "fix": None if ok else fix})

    add("Python", True, platform.python_version())
    check_root(root, add)
    try:
        account = accounts.training_user(plan.get("user"))
        add(
            "training user",
            True if account.pw_uid else None,
            account.pw_name,
            fix='no login user was found: "user" names one',
        )
    except Failure as failure:
        add("training user", False, failure.message, fix='set "user" to one that exists')
        return {"checks": checks}
    variables = accounts.login_environment(account)
    tools = [
        tool
        for tool in ("python3", "uv", "poetry", "conda", "pip3", "nvidia-smi")
        if shutil.which(tool, path=variables.get("PATH"))
    ]
    add("tools", "python3" in tools, ", ".join(tools) or "none", fix="install Python for that user")
    check_driver("nvidia-smi" in tools, add)
    check_environment(plan.get("environment"), root, account=account, variables=variables, add=add)
    check_store(plan["probe"], add)
    check_index(account, variables, add)
    ok, detail = role()
    add("instance role", ok, detail)
    check_runs(plan["store"], add)
    check_secret(plan["secret"], plan["store"]["region"], add)
    return {"checks": checks}


def check_root(root: str, add: Add) -> None:
    try:
        os.makedirs(root, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=root, suffix=".sh", delete=False) as file:
            file.write("#!/bin/sh\nexit 7\n")
        try:
            os.chmod(file.name, 0o700)
            code = subprocess.call([file.name])
        except PermissionError:
            code = -1
        finally:
            os.unlink(file.name)
        add("root", code == 7, root, fix='it is mounted noexec: set "remoteRoot" to another volume')
        free = shutil.disk_usage(root).free
        add(
            "space",
            free > 1 << 30,
            "%.1f GB free" % (free / (1 << 30)),
            fix='free some, or set "remoteRoot" to a larger volume',
        )
    except OSError as error:
        add(
            "root",
            False,
            "%s: %s" % (root, error),
            fix='set "remoteRoot" to a directory that can be written',
        )


def check_driver(has_driver: bool, add: Add, devices: str = "/sys/bus/pci/devices") -> None:
    """Whether GPUs that the instance has can be used."""
    found = [
        name
        for name in (os.listdir(devices) if os.path.isdir(devices) else ())
        if is_nvidia_gpu(os.path.join(devices, name))
    ]
    if found:
        count = "%d GPU%s of NVIDIA" % (len(found), "" if len(found) == 1 else "s")
        add(
            "NVIDIA driver",
            has_driver,
            count if has_driver else count + ", and no nvidia-smi",
            fix='use an image that has the driver: "ami": "deep-learning"',
        )


def is_nvidia_gpu(device: str) -> bool:
    try:
        with open(os.path.join(device, "vendor")) as vendor, open(
            os.path.join(device, "class")
        ) as kind:
            # A display controller: a VGA controller or a 3D controller.
            return vendor.read().strip() == "0x10de" and kind.read().startswith("0x03")
    except OSError:
        return False


def check_environment(
    spec: EnvironmentTool | None,
    root: str,
    *,
    account: pwd.struct_passwd,
    variables: dict[str, str],
    add: Add,
) -> None:
    """The tool that sets up the project's environment. A uv that the instance lacks is fetched, as
    a set-up would.
    """
    from .python_env import tools

    if not spec:
        return
    tool = tools.look(spec, root, account=account, variables=variables, pause=time.sleep)
    if tool:
        add(
            "the project's %s" % tool["tool"],
            True if tool["found"] else False if tool["needed"] else None,
            tool["found"] or tool["why"] or "",
            fix=tool["fix"],
        )


def check_store(probe: DoctorOperationProbe, add: Add) -> None:
    fix = (
        "the instance needs a route to S3 (a gateway endpoint does), "
        "and the bucket must allow presigned URLs"
    )
    try:
        with presigned.open_url("probe", probe["get"]) as answer:
            body = answer.read(1 << 20)
            date = answer.headers.get("Date")
        add(
            "read from S3",
            hashlib.sha256(body).hexdigest() == probe["sha256"],
            "by a presigned URL",
            fix=fix,
        )
        if date:
            skew = abs(parsedate_to_datetime(date).timestamp() - time.time())
            add("clock", skew < 60, "%d s off S3's" % skew, fix="set the clock (chrony)")
    except Failure as failure:
        add("read from S3", False, failure.with_aws(), fix=fix)
    try:
        presigned.upload(
            probe["post"],
            probe["objectKey"],
            file=io.BytesIO(b"probe"),
            size=5,
            sha256=hashlib.sha256(b"probe").hexdigest(),
        )
        add("write to S3", True, "by a presigned form")
    except Failure as failure:
        add("write to S3", False, failure.with_aws(), fix=fix)


def check_runs(store: StoreAccess, add: Add) -> None:
    """Tries to write where runs write their records, by the role: a run without a client has no
    presigned form.
    """
    where = "s3://%s/%s" % (store["bucket"], store["prefix"])
    try:
        open_bucket({**store, "access": "role"})
        add("write runs by the role", True, where)
    except Failure as failure:
        add(
            "write runs by the role",
            None,
            failure.with_aws(),
            fix="only runs without a client, and resuming them, need it: s3:PutObject and "
            "s3:GetObject on v2/projects/*/run/*, as aws-setup's InstanceProfile has",
        )


def check_secret(secret: DoctorOperationSecret, region: str, add: Add) -> None:
    """Tries to read, by the role, what signs the records of all runs. Only a refusal is right: the
    value itself is thrown away.
    """
    name = secret["parameter"]
    try:
        answer = Service("ssm", region).call(
            "AmazonSSM.GetParameter",
            {"Name": name, "WithDecryption": True},
            service_url("ssm", region, secret["endpoint"]),
        )
    except Failure as failure:
        # Without a role, nothing can be read by it.
        add(SECRET, True if failure.code == "NO_ROLE" else None, failure.message)
        return
    if "AccessDenied" in answer.code:
        add(SECRET, True, "the role may not read %s" % name)
    elif answer.status == 200 or answer.code == "ParameterNotFound":
        add(
            SECRET,
            False,
            "the role may read %s: a training on an instance with this role can sign the record "
            "of any run of the store" % name,
            fix="use the role of aws-setup, or take ssm:GetParameter and ssm:GetParameters on this "
            "parameter from the role (AmazonSSMManagedInstanceCore allows them on all parameters); "
            "then replace the secret, which invalidates the records of earlier runs: "
            "aws ssm delete-parameter --name %s" % name,
        )
    else:
        add(SECRET, None, answer.words)


def check_index(account: pwd.struct_passwd, variables: dict[str, str], add: Add) -> None:
    """Asks whichever index pip is configured with; only set-ups that install packages need one."""
    python = shutil.which("python3", path=variables.get("PATH"))
    try:
        pip = subprocess.Popen(
            [
                python or "python3",
                "-m",
                "pip",
                "--retries",
                "0",
                "--timeout",
                "5",
                "index",
                "versions",
                "pip",
            ],
            env=variables,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: accounts.become(account),
        )
        try:
            printed = read_output(pip, limit=MAX_PIP_BYTES, timeout=PIP_TIMEOUT_S)
        finally:
            pip.kill()
            pip.wait()
    except (OSError, subprocess.SubprocessError) as error:
        add("package index", None, str(error))
        return
    text = printed.decode("utf-8", "replace").strip().splitlines()
    if pip.returncode == 0:
        add("package index", True, "reached by pip")
    elif text and "No module named pip" in text[-1]:
        add("package index", None, "there is no pip to ask with")
    else:
        add(
            "package index",
            None,
            text[-1][:200] if text else "not reached",
            fix="only set-ups that install packages need it: a route to it, or your own index",
        )


def role() -> tuple[bool | None, str]:
    try:
        role = instance_role()
        name = role.name()
        role.credentials()
        return True, name
    except Failure as failure:
        return None, "%s; a sync, and a run that a client follows, need none" % failure.message
