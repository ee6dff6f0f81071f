"""A command beside the trainings: in a run's directory with its environment, or in the tree. A process of its own, with a log."""
import fcntl
import os
import signal
import time

from ..report import reporter
from ..run_dir.log_writer import LogFile
from ..system import account as accounts
from ..system import atomic_files, cgroup, process_group
from ..system.daemonize import detached
from ..system.errors import Failure
from . import runs, training_variables
from .child_process import CanNotStart, Child
from .masking import Mask

NO_LIMITS = {"memory": None, "cores": None}


def start(plan, root):
    """Its record, and what it has printed so far. Asked for once more under the same id, it is found."""
    from ..run_dir import log_reader

    part = plan["exec"]
    home = runs.directory(root, part["id"])
    # Of two commands with the same id that arrive at once, the second finds what the first has begun.
    with runs.Starting(root):
        if not os.path.exists(os.path.join(home, "run.json")):
            begin(plan, root, home)
    state = runs.watch_start(root, part["id"])
    return {"run": state, "log": log_reader.read(home, 0)}


def begin(plan, root, home):
    part = plan["exec"]
    directory, variables, hidden, account = place(plan, root)
    os.makedirs(home, exist_ok=True)
    descriptor = os.open(os.path.join(home, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    record = {
        "id": part["id"], "kind": "exec", "runKey": "", "project": "", "caller": "", "tree": plan["tree"], "snapshot": "",
        "instance": os.environ.get("AWS_SSM_INSTANCE_ID"), "boot": reporter.boot(), "state": "preparing", "pid": None, "supervisor": None,
        "user": account.pw_name, "createdAt": now(), "startedAt": None, "endedAt": None, "exitCode": None, "signal": None, "attempt": 1,
        "attempts": [], "queue": None, "resources": {"exclusive": False, "gpus": 0}, "gpus": [], "training": 0, "stop": None, "failure": None,
        "outcome": None, "directory": home,
    }
    atomic_files.write_json(os.path.join(home, "run.json"), record)

    def execute():
        Execution(home, record, part, directory, variables, hidden, account).execute()

    detached(execute)
    os.close(descriptor)


def place(plan, root):
    """(directory, variables, secrets, account) that the command gets."""
    if plan["run"]:
        home = runs.directory(root, plan["run"])
        there = atomic_files.read_json(os.path.join(home, "environment.json"))
        if there is None or not os.path.isdir(there["directory"]):
            raise Failure("NO_RUN", "the run %s has no directory on this instance, or not yet" % plan["run"], run=plan["run"])
        return there["directory"], there["variables"], secrets(home, there), accounts.training_user(there["user"])
    account = accounts.training_user(plan.get("user"))
    directory = os.path.join(root, "trees", plan["tree"], "files", plan["exec"]["projectRoot"])
    if not os.path.isdir(directory):
        raise Failure("NO_TREE", "nothing was synced to this instance yet")
    return directory, accounts.login_environment(account), {}, account


def secrets(home, there):
    """The values of a run's secrets, None for those that a client has read: nowhere are they written down, the others are read anew."""
    found = dict.fromkeys(there.get("withheld") or ())
    part = atomic_files.read_json(os.path.join(home, "plan.json"))
    if found and part and part["secrets"]:
        from .secrets import read_secrets

        found.update(read_secrets(part))
    return found


class Execution:
    def __init__(self, home, record, part, directory, variables, hidden, account):
        self.home, self.record, self.part, self.directory, self.account = home, record, part, directory, account
        # What it began bears its mark, so that it is found where this process is killed.
        values = {name: value for name, value in hidden.items() if value is not None}
        self.lacking = sorted(set(hidden) - set(values))
        self.variables = training_variables.in_local_instance(dict(variables, NX_EC2_EXEC_ID=record["id"], **values))
        self.mask = Mask(values.values()) if values else None
        self.deadline = time.monotonic() + part["timeout"] if part["timeout"] else None
        self.shutdown = False

    def save(self, **changes):
        self.record.update(changes)
        atomic_files.write_json(os.path.join(self.home, "run.json"), self.record)

    def execute(self):
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "shutdown", True))
        for each in (signal.SIGHUP, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        process_group.adopt_orphans()
        group = cgroup.create(self.home)
        log = LogFile(self.home)
        if self.lacking:
            log.say("without %s: what the client reads for a training is kept nowhere" % ", ".join(self.lacking))
        try:
            child = Child(self.part["argv"], self.variables, self.directory, self.account, log, self.mask, NO_LIMITS, self.requested_stop, None, group)
        except CanNotStart as error:
            log.close()
            self.save(state="ended", endedAt=now(), outcome="failed", failure={"code": "START_FAILED", "message": str(error), "exitCode": None})
            return
        self.save(state="running", supervisor=os.getpid(), pid=child.pid, startedAt=now())
        code = child.wait()
        if child.left:
            log.say(child.left.warning("remote-exec stops the processes that its command leaves: end the command with `wait`, or run a training."))
        if child.unkilled:
            log.say(child.unkilled.unkilled())
        if group:
            group.remove()
        log.close()
        stop = child.stopped and {"reason": child.stopped[0], "at": now()}
        outcome = "succeeded" if code == 0 and not stop else "cancelled" if stop else "failed"
        self.save(
            state="ended", endedAt=now(), exitCode=code if code >= 0 else None, signal=signal.Signals(-code).name if code < 0 else None,
            stop=stop, outcome=outcome,
        )

    def requested_stop(self):
        if self.shutdown:
            return "shutdown", self.part["gracePeriod"]
        if self.deadline and time.monotonic() > self.deadline:
            return "timeout", self.part["gracePeriod"]
        stop = atomic_files.read_json(os.path.join(self.home, "stop.json"))
        return (stop["reason"], stop["gracePeriod"]) if stop else None


def now():
    return int(time.time() * 1000)
