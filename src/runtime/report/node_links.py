"""The TCP connections between the nodes of a run: each other node has one to the first. One that
breaks shows that a node may be lost before its record is missed. Only the store shows that it is.
"""

from __future__ import annotations

import selectors
import socket
import time

from .heartbeat_message import MESSAGE_BYTES, Dialogue, Rejected, digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional, Tuple

    from .signed_record import SigningKey

    # The address and the port of the first node.
    Target = Tuple[str, int]
    FindTarget = Callable[[], Optional[Target]]

# Between two heartbeats; how long none has come from a node whose connection counts as broken.
HEARTBEAT_INTERVAL_S, HEARTBEAT_TIMEOUT_S = 2.0, 10.0
# How long a connection takes to be made, and then its other end to prove that it is a node.
CONNECT_TIMEOUT_S, PROOF_TIMEOUT_S = 5.0, 5.0
# Between two attempts to connect.
MIN_RETRY_S, MAX_RETRY_S = 1.0, 15.0
# Connections beside those of the nodes that may be open before they have proven what they are.
MAX_UNPROVEN = 16
TICK_S = 0.5
# Of one read.
READ_BYTES = 16 * MESSAGE_BYTES


class Link:
    """One open connection."""

    def __init__(self, connection: socket.socket, dialogue: Dialogue, now: float) -> None:
        connection.setblocking(False)
        self.socket, self.dialogue = connection, dialogue
        self.held = b""
        self.opened = self.heard = self.spoken = now

    def receive(self, now: float) -> None:
        """Takes what has come. @raises Rejected, OSError"""
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise Rejected()
        self.held += data
        while len(self.held) >= MESSAGE_BYTES:
            message, self.held = self.held[:MESSAGE_BYTES], self.held[MESSAGE_BYTES:]
            self.dialogue.take(message)
            self.heard = now

    def speak(self, now: float) -> None:
        """Sends what is due. @raises Rejected, OSError"""
        is_due = self.dialogue.sent < 2 or now - self.spoken >= HEARTBEAT_INTERVAL_S
        if not is_due or not self.dialogue.may_send:
            return
        self.spoken = now
        message = self.dialogue.next()
        # A peer that takes nothing reads nothing.
        if self.socket.send(message) != len(message):
            raise Rejected()

    def is_overdue(self, now: float) -> bool:
        if not self.dialogue.is_proven:
            return now - self.opened > PROOF_TIMEOUT_S
        return now - self.heard > HEARTBEAT_TIMEOUT_S


class NodeLinks:
    """The connections of one node. `find_target()` tells where the first one listens."""

    def __init__(
        self,
        key: SigningKey,
        rank: int,
        count: int,
        *,
        instance: str,
        address: str,
        find_target: FindTarget,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.key, self.rank, self.count, self.instance = key, rank, count, instance
        self.address, self.find_target, self.clock = address, find_target, clock
        self.selector = selectors.DefaultSelector()
        self.listener: socket.socket | None = None
        self.links: list[Link] = []
        # By node, as `Dialogue.peer`: the connection that it has proven to be at, or since when it
        # has none any more.
        self.nodes: dict[tuple[int, bytes], Link | float] = {}
        self.retry_at, self.retry_s = 0.0, MIN_RETRY_S
        # Why there is no connection.
        self.problem: str | None = None

    def listen(self) -> None:
        """Of the first node."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.bind((self.address, 0))
            listener.listen(self.count + MAX_UNPROVEN)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            self.problem = "%s can't listen: %s" % (self.address, error.strerror)
            return
        self.listener = listener
        self.selector.register(listener, selectors.EVENT_READ)

    @property
    def port(self) -> int | None:
        return self.listener.getsockname()[1] if self.listener else None

    def broken_s(self, rank: int, instance: str) -> float | None:
        """For how long the connection to a node is broken; None where it is not, or never was."""
        found = self.nodes.get((rank, digest(instance)))
        return None if found is None or isinstance(found, Link) else self.clock() - found

    def has_been(self, rank: int, instance: str) -> bool:
        """Whether there has been a connection to a node."""
        return (rank, digest(instance)) in self.nodes

    @property
    def is_any_broken(self) -> bool:
        return any(not isinstance(each, Link) for each in list(self.nodes.values()))

    def turn(self) -> None:
        """Does what is to be done, and waits for it for a moment."""
        self._connect()
        for key, _ in self.selector.select(TICK_S):
            if key.data is None:
                self._accept()
            else:
                self._try(key.data, self._receive)
        now = self.clock()
        for link in list(self.links):
            if link.is_overdue(now):
                self._close(link)
            else:
                self._try(link, lambda each: each.speak(now))

    def close(self) -> None:
        for link in list(self.links):
            self._close(link)
        if self.listener:
            self.selector.unregister(self.listener)
            self.listener.close()
            self.listener = None

    def _try(self, link: Link, work: Callable[[Link], None]) -> None:
        try:
            work(link)
        except (Rejected, OSError):
            self._close(link)

    def _receive(self, link: Link) -> None:
        link.receive(self.clock())
        peer = link.dialogue.peer
        if peer is None or not link.dialogue.is_proven:
            return
        before = self.nodes.get(peer)
        self.nodes[peer] = link
        self.problem, self.retry_s = None, MIN_RETRY_S
        if isinstance(before, Link) and before is not link:
            self._close(before)

    def _accept(self) -> None:
        assert self.listener
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        unproven = [each for each in self.links if not each.dialogue.is_proven]
        if len(unproven) >= MAX_UNPROVEN + self.count:
            self._close(unproven[0])
        self._add(connection)

    def _connect(self) -> None:
        """Connects another node to the first one, where it is not."""
        now = self.clock()
        target = None if self.links or not self.rank or now < self.retry_at else self.find_target()
        if target is None:
            return
        self.retry_at = now + self.retry_s
        self.retry_s = min(self.retry_s * 2, MAX_RETRY_S)
        try:
            self._add(socket.create_connection(target, CONNECT_TIMEOUT_S))
        except OSError as error:
            self.problem = "%s, port %d: %s" % (*target, error.strerror or error)

    def _add(self, connection: socket.socket) -> None:
        dialogue = Dialogue(self.key, self.rank, count=self.count, instance=self.instance)
        link = Link(connection, dialogue, self.clock())
        self.links.append(link)
        self.selector.register(connection, selectors.EVENT_READ, link)

    def _close(self, link: Link) -> None:
        if link not in self.links:
            return
        self.links.remove(link)
        self.selector.unregister(link.socket)
        link.socket.close()
        peer = link.dialogue.peer
        if peer and self.nodes.get(peer) is link:
            self.nodes[peer] = self.clock()
