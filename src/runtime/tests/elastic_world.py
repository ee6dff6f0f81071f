"""Fleets, a store and the supervisors of a run on MIN:MAX nodes, with a clock of their own."""

import os
import random
import shutil
import sys
import tempfile
import types
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_fleet import BOOT, RUN

from nx_ec2_runtime.aws.metadata import Absent
from nx_ec2_runtime.fleet import elastic_fleet, fleet_run, node_fleet
from nx_ec2_runtime.report.signed_record import SigningKey
from nx_ec2_runtime.run.take_over import LEASE_S
from nx_ec2_runtime.system.errors import Failure

CONFIG = {"finish": {"success": 0, "failure": 0}}
# Seconds of the world: to boot, to be prepared, to find a lost node, between two checkpoints.
BOOT_S, PREPARE_S, NOTICE_S, STEP_S = 20, 15, 15, 12
STEPS = 12


class Instance:
    def __init__(self, world, name, slot):
        self.world, self.name, self.slot = world, name, slot
        self.root = os.path.join(world.top, name)
        self.run_dir = os.path.join(self.root, "runs", RUN)
        os.makedirs(os.path.join(self.root, "watchdog"))
        self.boots_at = world.now + BOOT_S
        self.is_noticed = self.is_gone = self.has_ended = False
        self.fleet = None

    def get(self, path):
        """The metadata's."""
        if "spot" not in path:
            return self.name
        if not self.is_noticed:
            raise Absent(path)
        return "{}"

    @property
    def local(self):
        return self.world.files.get(os.path.join(self.run_dir, "run.json"))

    def save(self, **changes):
        record = {**(self.local or {"heartbeat": 0}), **changes}
        record["heartbeat"] += 1
        self.world.files[os.path.join(self.run_dir, "run.json")] = record
        self.world.write(record)

    @property
    def is_active(self):
        return bool(self.local and self.local["state"] != "ended")

    def end(self, outcome, reason=None, **more):
        stop = reason and {"reason": reason, "at": 1}
        self.save(state="ended", outcome=outcome, stop=stop, **more)

    def restart(self):
        """Its program, as the watchdog starts it."""
        with mock.patch.object(fleet_run, "Metadata", lambda: self):
            self.fleet = elastic_fleet.ElasticFleet(
                self.world.boot, CONFIG, self.root, log=self.world.log.append, slot=self.slot
            )
        self.fleet._is_active_here = lambda: self.is_active


class ElasticWorld:
    """`step()` lets a second pass."""

    def __init__(self, test, least=2, most=4, grow_after=20, seed=0):
        self.test, self.least, self.most, self.now = test, least, most, 1000.0
        self.top = tempfile.mkdtemp()
        test.addCleanup(shutil.rmtree, self.top, ignore_errors=True)
        self.random = random.Random(seed)
        node = {
            "rank": 0,
            "count": most,
            "timeouts": {"start": 300, "replacement": 480},
            "elastic": {"least": least, "growAfter": grow_after},
        }
        self.boot = dict(BOOT, run=dict(BOOT["run"], node=node))
        self.key = SigningKey({"signingKey": BOOT["run"]["signingKey"], "id": RUN})
        # What the store has; what instances have, by its path.
        self.objects, self.files, self.log, self.written = {}, {}, [], 0
        self.fleets, self.template = set(range(most)), True
        self.capacity, self.made = most, 0
        self.instances, self.trained, self.attempts = [], [], []
        # What is done instead of a write or a request; a test's.
        self.fault = lambda what: None
        # The places of instances that can't be prepared, or started.
        self.unprepared, self.unstartable = set(), set()
        clock = types.SimpleNamespace(monotonic=lambda: self.now, sleep=lambda _: None)
        for target, name, value in (
            (elastic_fleet, "time", clock),
            (elastic_fleet, "Bucket", lambda access, _: Below(self, access)),
            (node_fleet, "Bucket", lambda access, _: Below(self, access)),
            (fleet_run, "Bucket", lambda access, _: Below(self, access)),
            (fleet_run, "Ec2", lambda *_: self),
            (fleet_run, "start_attempt", self.begin),
            (elastic_fleet, "now_ms", lambda: int(self.now * 1000)),
            (elastic_fleet.runs, "cancel", self.ask_to_grow),
            (elastic_fleet.atomic_files, "read_object", lambda path: self.files.get(path, {})),
            (elastic_fleet, "Held", lambda _: mock.Mock()),
        ):
            patch = mock.patch.object(target, name, value)
            patch.start()
            test.addCleanup(patch.stop)

    # EC2.

    def own_fleet(self, instance, run):
        return "fleet-%d" % next(each.slot for each in self.instances if each.name == instance)

    def node_of(self, fleet):
        return fleet[6:]

    def fleets_of(self, run):
        return {"fleet-%d" % slot: str(slot) for slot in self.fleets}

    def may_delete(self, fleet):
        pass

    def delete_template(self, name):
        self.fault("template")
        self.template = False

    def delete_fleet(self, fleet, terminate):
        self.fault("fleet")
        self.fleets.discard(int(fleet[6:]))
        for each in self.alive():
            if each.slot == int(fleet[6:]) and terminate:
                each.is_gone = True

    def alive(self):
        return [each for each in self.instances if not each.is_gone]

    def launch(self):
        held = {each.slot for each in self.alive()}
        for slot in sorted(self.fleets - held):
            if self.template and len(self.alive()) < self.capacity:
                self.made += 1
                self.instances.append(Instance(self, "i-%d" % self.made, slot))

    # The runtime.

    def write(self, record):
        rank = record["node"]["rank"]
        name = "node/%d/record.json" % rank if rank else "record.json"
        self.put(name, self.key.of_node(rank).sign(record))

    def record(self, rank=0):
        name = "node/%d/record.json" % rank if rank else "record.json"
        found = self.objects.get(name)
        return found and self.key.of_node(rank).verified(found.data)

    def put(self, name, data):
        self.written += 1
        self.objects[name] = types.SimpleNamespace(
            data=data, etag=str(self.written), at=self.now, refused=None
        )

    def begin(self, boot, root, record, *, attempt):
        """What `start_attempt` does, by the rules of take_over.py."""
        self.fault("begin")
        here = next(each for each in self.instances if each.root == root)
        node = boot["run"]["node"]
        rank, count = node["rank"], node["count"]
        if here.slot in self.unstartable:
            raise Failure("CONTENT_MISSING", "it can't be started")
        name = "node/%d/record.json" % rank if rank else "record.json"
        found = self.objects.get(name)
        if found and record["state"] != "ended" and self.now - found.at < LEASE_S:
            raise Failure("RUN_ACTIVE", "it is active on %s" % record["instance"])
        if record and record["attempt"] >= attempt + bool(node.get("joins")):
            raise Failure("RUN_ACTIVE", "attempt %d has begun" % record["attempt"])
        if rank == 0:
            self.attempts.append((attempt, count, here.name))
        self.files[os.path.join(here.run_dir, "plan.json")] = {"node": node}
        self.files.pop(os.path.join(here.run_dir, "run.json"), None)
        here.save(
            state="setup",
            outcome=None,
            attempt=attempt,
            instance=here.name,
            stop=None,
            failure=None,
            failedNode=None,
            attempts=[],
            checkpoints=record["checkpoints"] if record else [],
            heartbeat=record["heartbeat"] if record else 0,
            since=None,
            begun=self.now,
            node={"rank": rank, "count": count, "phase": "preparing"},
        )
        return attempt

    def ask_to_grow(self, plan, root):
        here = next(each for each in self.instances if each.root == root)
        if here.is_active and here.local["attempt"] == plan["attempt"]:
            here.end("interrupted", "growth")

    def supervise(self, here):
        """A second of the supervisor of an instance."""
        local = here.local
        node, prepared = local["node"], self.now - local["begun"] >= PREPARE_S
        if here.is_noticed:
            here.end("interrupted", "interruption")
        elif (here.slot in self.unprepared) and prepared and local["since"] is None:
            here.end("setup-failed")
        elif self.boot_of(here).get("joins"):
            if prepared:
                here.end("interrupted", "growth")
        elif node["rank"]:
            first = self.record()
            silent_s = self.now - self.objects["record.json"].at
            if first["attempt"] != local["attempt"] or first["outcome"] or silent_s > NOTICE_S:
                is_over = first["outcome"] == "succeeded"
                here.end("succeeded" if is_over else "interrupted", "interruption")
            elif prepared:
                here.save(node={**node, "phase": "ready"})
        else:
            self.lead(here, local, node, prepared)

    def boot_of(self, here):
        return self.files[os.path.join(here.run_dir, "plan.json")]["node"]

    def lead(self, here, local, node, prepared):
        peers = [self.record(rank) for rank in range(1, node["count"])]
        there = [
            each
            for each in peers
            if each
            and (each["attempt"], each["node"]["count"]) == (local["attempt"], node["count"])
        ]
        names = {each.name: each for each in self.alive()}
        for peer in there:
            why = None
            found = self.objects["node/%d/record.json" % peer["node"]["rank"]]
            if peer["outcome"] == "setup-failed":
                here.end("setup-failed")
                return
            if peer["outcome"]:
                why = "stopped"
            elif peer["instance"] not in names and self.now - found.at >= NOTICE_S:
                why = "lost"
            if why:
                gone = {"rank": peer["node"]["rank"], "instance": peer["instance"], "why": why}
                here.end("interrupted", "interruption", failedNode=gone)
                return
        is_late = self.now - local["begun"] > 300
        if len(there) < len(peers) and is_late:
            here.end(
                "interrupted",
                "interruption",
                failedNode={"rank": 1, "instance": None, "why": "missing"},
            )
        elif local["since"] is None:
            ready = prepared and len(there) == len(peers)
            if ready and all(each["node"]["phase"] == "ready" for each in there):
                here.save(
                    state="running",
                    since=self.now * 1000,
                    node={**node, "phase": "running"},
                )
            else:
                here.save()
        else:
            self.train(here, local, node)

    def train(self, here, local, node):
        self.trained.append((self.now, local["attempt"], node["count"], here.name))
        saved = local["checkpoints"]
        if len(saved) >= STEPS:
            here.end("succeeded")
        elif (self.now - local["since"] / 1000) % STEP_S == STEP_S - 1:
            here.save(checkpoints=[*saved, {"attempt": local["attempt"]}])
        else:
            here.save()

    def step(self):
        self.now += 1
        self.launch()
        for here in self.alive():
            if self.now < here.boots_at:
                continue
            if here.is_active:
                self.supervise(here)
            if here.has_ended:
                continue
            if here.fleet is None:
                here.restart()
            try:
                if self.now % 5 == 0:
                    here.fleet.tell()
                here.has_ended = here.fleet.step()
            except Failure as failure:
                self.test.assertIn(failure.code, ("RUN_ACTIVE", "CHANGED", "CONTENT_MISSING"))
            except Killed:
                here.restart()
        # Nobody trains twice.
        now = [each for each in self.trained if each[0] == self.now]
        self.test.assertLessEqual(len(now), 1, self.log)

    def until(self, what, seconds=3000):
        end = self.now + seconds
        while not what():
            self.test.assertLess(self.now, end, (self.log[-20:], self.record(), self.attempts))
            self.step()

    def trains(self, count):
        return self.trained and self.trained[-1][0] == self.now and self.trained[-1][2] == count

    def ends(self, seconds=5000):
        """Until nothing of the run is left."""
        self.until(lambda: not self.fleets and not self.alive(), seconds)
        self.test.assertFalse(self.template)
        return self.record()


class Killed(BaseException):
    """A process was killed."""


class Below:
    """The bucket below a prefix."""

    def __init__(self, world, access):
        self.world, self.prefix = world, access["prefix"].partition("run/%s/" % RUN)[2]

    def read(self, name, limit=None, cut=False):
        found = self.world.objects.get(self.prefix + name)
        if found:
            return types.SimpleNamespace(**vars(found), age=self.world.now - found.at)
        return None

    def get(self, name, limit=None):
        found = self.read(name)
        return found and found.data

    def holds(self, prefix):
        return any(each.startswith(self.prefix + prefix) for each in self.world.objects)

    def put(self, name, data, content_type=None, condition=None):
        self.world.fault("put " + name)
        there = self.world.objects.get(self.prefix + name)
        wanted = (condition or {}).get("If-Match")
        if condition and (wanted is None) != (there is None):
            raise Failure("CHANGED", "another was quicker")
        if wanted and there.etag != wanted:
            raise Failure("CHANGED", "another was quicker")
        self.world.put(self.prefix + name, data)
        self.world.fault("after " + name)
