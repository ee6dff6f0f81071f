"""Who has what of the instance to itself: tickets in the order in which runs came, each as alive as its run's supervisor."""
import fcntl
import json
import os

from ..system import atomic_files
from ..system.errors import Failure
from ..system.file_lock import held


class Claims:
    """The tickets of all runs of an instance, under one lock.

    A ticket is `<root>/claims/<number>-<run>`: {"run", "exclusive", "gpus", "granted": null | [GPU, …]}. One whose run has no
    supervisor any more counts for nothing, and is removed by whoever comes across it."""

    def __init__(self, root, gpus):
        self.root, self.gpus = root, gpus
        self.directory = os.path.join(root, "claims")

    def __enter__(self):
        os.makedirs(self.directory, exist_ok=True)
        self.descriptor = os.open(os.path.join(self.directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        self.tickets = list(self._read())
        return self

    def __exit__(self, *_):
        os.close(self.descriptor)

    def _read(self):
        for name in sorted(os.listdir(self.directory)):
            number, _, run = name.partition("-")
            if not number.isdigit():
                continue
            path = os.path.join(self.directory, name)
            ticket = atomic_files.read_json(path)
            if ticket is None or not held(os.path.join(self.root, "runs", run, "lock")):
                os.unlink(path)
                continue
            yield dict(ticket, path=path, number=int(number))

    def join(self, run, claim):
        """Puts a run at the end of the queue. Its supervisor's lock must be held by now."""
        number = 1 + max((ticket["number"] for ticket in self.tickets), default=0)
        ticket = {"run": run, "exclusive": claim["exclusive"], "gpus": claim["gpus"], "granted": None}
        self._write(os.path.join(self.directory, "%012d-%s" % (number, run)), ticket)

    def take(self, run):
        """The GPUs that the run has from now on, [] where it asked for none; None while it must wait for whatever runs or came before."""
        mine = self._find(run)
        if mine["gpus"] > self.gpus:
            raise Failure("CLAIM_IMPOSSIBLE", "%d GPUs were requested, but the instance has %d" % (mine["gpus"], self.gpus))
        if mine["granted"] is None and not self._before(mine):
            taken = {gpu for ticket in self.tickets for gpu in ticket["granted"] or ()}
            free = [gpu for gpu in range(self.gpus) if gpu not in taken]
            mine["granted"] = free[: mine["gpus"]]
            self._write(mine["path"], {name: mine[name] for name in ("run", "exclusive", "gpus", "granted")})
        return mine["granted"]

    def _find(self, run):
        for ticket in self.tickets:
            if ticket["run"] == run:
                return ticket
        raise Failure("NO_TICKET", "the run's place in the queue is gone", run=run)

    def _before(self, mine):
        """The tickets that a waiting one waits for: those that have something, or came before, and do not go with it."""
        others = [each for each in self.tickets if each is not mine and (each["granted"] is not None or each["number"] < mine["number"])]
        short = mine["gpus"] and sum(each["gpus"] for each in others) + mine["gpus"] > self.gpus
        return [each for each in others if each["exclusive"] or mine["exclusive"] or (short and each["gpus"])]

    def place(self, run):
        """What a run waits for: {"before": how many, "holders": [their runs]}."""
        waited = self._before(self._find(run))
        return {"before": len(waited), "holders": [each["run"] for each in waited[:10]]}

    def _write(self, path, ticket):
        atomic_files.write_atomically(path, json.dumps(ticket).encode(), durable=False)
