"""A node of a Ray cluster: starts Ray, on the first node also the training, and ends Ray after it.

    nx_ec2_ray <settings, JSON> <command> …

It runs as the training's user, with the Python of the run's environment: it imports nothing of the
runtime, which writes it and what it needs to files.

On the first node, Ray is below a process of its own that is no child of this one: what a stop
signals first is the training, as without a launcher.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time

from .ray_logs import keep_logs
from .ray_processes import (
    ENDING,
    NODE_RESOURCE,
    POLL_S,
    Door,
    Failed,
    Probe,
    Ray,
    RayParent,
    adopt_orphans,
    default_signals,
    is_open,
    say,
    show,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .ray_processes import Settings

# Between two looks whether the door of the first node is open.
DOOR_POLL_S = 0.5
# How often Ray is started again on a node other than the first.
RESTARTS = 3
NOT_FOUND = 127


class Told:
    """Whether this process was told to end."""

    def __init__(self) -> None:
        self.number: int | None = None
        # A training that is running, which gets the signal.
        self.training: subprocess.Popen[bytes] | None = None
        for each in ENDING:
            signal.signal(each, self._on_signal)

    def _on_signal(self, number: int, _: object) -> None:
        self.number = number
        if self.training:
            self.training.send_signal(number)

    def leave_to_training(self) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)


class FirstNode:
    def __init__(self, settings: Settings, command: list[str]) -> None:
        self.settings, self.command = settings, command
        self.told = Told()
        self.ray = Ray(settings)
        self.parent = RayParent(self.ray)
        self.door: Door | None = None
        self.is_warned = False

    def run(self) -> int:
        try:
            self._wait_for_nodes()
            code = self._train()
        except Failed as failed:
            code = fail(self.settings, str(failed), self.ray)
        if self.door:
            self.door.close()
        self.parent.end()
        if code:
            keep_logs(self.settings)
        return code

    def _wait_for_nodes(self) -> None:
        deadline = time.monotonic() + self.settings["joinTimeout"]
        while b"started" not in self.parent.said and not self.told.number:
            if self.parent.has_ended(POLL_S):
                raise Failed("Ray did not start on this node")
            if time.monotonic() > deadline:
                raise Failed("Ray has not started within %d s" % self.settings["joinTimeout"])
        if self.told.number:
            return
        self.door = Door(self.settings)
        probe = Probe(self.settings)
        try:
            while not self.told.number and self._missing(probe, deadline):
                pass
        finally:
            probe.end()

    def _missing(self, probe: Probe, deadline: float) -> list[int]:
        """The nodes that have not joined yet."""
        self._greet()
        names = probe.look()
        addresses = self.settings["addresses"]
        count = len(addresses)
        missing = [rank for rank in range(count) if NODE_RESOURCE + str(rank) not in names]
        if not missing:
            say("Ray has %d node%s at %s" % (count, "s"[: count > 1], self.settings["address"]))
        elif self.parent.has_ended():
            raise Failed("Ray ended on this node before the others had joined")
        elif time.monotonic() > deadline:
            shown = ["node %d (%s)" % (rank, addresses[rank]) for rank in missing]
            raise Failed(
                "%d of %d nodes have not joined Ray within %d s: %s. Their logs may tell why "
                "(remote-logs --node=%d)"
                % (len(missing), count, self.settings["joinTimeout"], ", ".join(shown), missing[0])
            )
        return missing

    def _greet(self) -> None:
        if self.door:
            self.door.greet()

    def _train(self) -> int:
        """Runs the training. Returns its exit code, negative for a signal."""
        variables = dict(os.environ, RAY_ADDRESS=self.settings["address"])
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        if self.told.number or any(each in signal.sigpending() for each in ENDING):
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return -(self.told.number or signal.SIGTERM)

        def begin() -> None:
            default_signals()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

        try:
            training = subprocess.Popen(self.command, env=variables, preexec_fn=begin)
        except OSError as error:
            print("%s can't be run: %s" % (self.command[0], error), flush=True)
            return NOT_FOUND
        self.told.training = training
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        # From here on, a stop signals the training itself.
        self.told.leave_to_training()
        while True:
            try:
                return training.wait(POLL_S)
            except subprocess.TimeoutExpired:
                self._greet()
                self._warn_if_ended()

    def _warn_if_ended(self) -> None:
        if self.is_warned or not self.parent.has_ended():
            return
        self.is_warned = True
        show(
            "Ray has ended on this node, without which the training can't use the others", self.ray
        )


class OtherNode:
    """It has Ray until the training on the first node has ended, also when it is told to end: the
    training then saves, for which it may need this node.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.told, self.ray = settings, Told(), Ray(settings)
        adopt_orphans()

    def run(self) -> int:
        try:
            if self._first_answers():
                self._keep()
            code = 0
        except Failed as failed:
            code = fail(self.settings, str(failed), self.ray)
        if self.ray.pid:
            self.ray.end()
        if code:
            keep_logs(self.settings)
        return code

    def _first_answers(self) -> bool:
        """Waits until Ray has started on the first node. False: told to end meanwhile."""
        deadline = time.monotonic() + self.settings["joinTimeout"]
        while not self.told.number:
            if is_open(self.settings):
                return True
            if time.monotonic() > deadline:
                raise Failed(
                    "node 0 does not answer at %s, port %d. The nodes need a security group that "
                    "lets them reach each other on all ports" % tuple(self.settings["door"])
                )
            time.sleep(DOOR_POLL_S)
        return False

    def _keep(self) -> None:
        starts, is_joined = 1, False
        self.ray.start()
        while not self._is_over():
            time.sleep(DOOR_POLL_S)
            self.ray.reap()
            if not is_joined and self.ray.has_started():
                say("Ray has joined that of node 0 at %s" % self.settings["address"])
                is_joined = True
            if self.ray.pid:
                continue
            self.ray.kill()
            if self._is_over():
                return
            if not is_joined:
                if self.ray.starts_again():
                    continue
                raise Failed("Ray did not start on this node")
            if starts <= RESTARTS:
                show("Ray has ended on this node, and is started again", self.ray)
                self.ray.start()
            elif starts == RESTARTS + 1:
                show(
                    "Ray has ended on this node once more: the training has one node less", self.ray
                )
                keep_logs(self.settings)
            starts += 1

    def _is_over(self) -> bool:
        """Whether the training has ended. What does not answer may only be slow."""
        found = is_open(self.settings)
        return found is False or (found is None and self.told.number is not None)


def fail(settings: Settings, text: str, ray: Ray) -> int:
    """Shows and records why there is no training. Returns the exit code."""
    if ray.pid is None and not os.path.exists(ray.log):
        say(text)
    else:
        show(text, ray)
    path = os.path.join(settings["record"], "failure.json")
    with open(path + ".new", "w") as file:
        json.dump({"failure": text}, file)
    os.replace(path + ".new", path)
    return 1


def end_like(code: int) -> NoReturn:
    """Ends with that exit code, or by that signal."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
        code = 128 - code
    sys.exit(code)


def main(text: str, *command: str) -> NoReturn:
    settings: Settings = json.loads(text)
    node = OtherNode(settings) if settings["rank"] else FirstNode(settings, list(command))
    end_like(node.run())
