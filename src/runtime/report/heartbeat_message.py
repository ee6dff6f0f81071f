"""The messages by which two nodes of a run tell each other over a connection that they are there:
docs/reference/formats.md, "Connections of nodes".
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .signed_record import SigningKey

MAGIC = b"nx-ec2 1"
NONCE_BYTES = 16
# The magic, the number of the message, the sender's rank, how many nodes the run has, the hash of
# the sender's instance id, and a nonce.
BODY = struct.Struct(">8sQII32s16s")
MAC_BYTES = 64
MESSAGE_BYTES = BODY.size + MAC_BYTES


class Rejected(Exception):
    """What came is no message of a node of this run, or not the next one."""


def digest(instance: str) -> bytes:
    return hashlib.sha256(instance.encode()).digest()


class Dialogue:
    """The messages of one connection, as one end has them. `peer`: (rank, hash of the instance id)
    of the other end, known from its first message on. `is_proven`: it has answered to a nonce of
    this very connection, so nothing of it is a repetition.
    """

    def __init__(self, key: SigningKey, rank: int, *, count: int, instance: str) -> None:
        self.key, self.rank, self.count = key, rank, count
        self.instance = digest(instance)
        self.nonce = os.urandom(NONCE_BYTES)
        self.peer: tuple[int, bytes] | None = None
        self.peer_nonce: bytes | None = None
        self.sent = self.received = 0

    @property
    def is_proven(self) -> bool:
        return self.received > 1

    @property
    def may_send(self) -> bool:
        """Whether there is something to say: the greeting, or an answer to the peer's."""
        return not self.sent or self.peer_nonce is not None

    def next(self) -> bytes:
        """The next message: the greeting with the own nonce, then heartbeats with the peer's."""
        nonce = self.peer_nonce if self.sent else self.nonce
        assert nonce
        body = BODY.pack(MAGIC, self.sent, self.rank, self.count, self.instance, nonce)
        self.sent += 1
        return body + self.key.of_heartbeat(body)

    def take(self, message: bytes) -> None:
        """Takes the next message of the other end. @raises Rejected"""
        body, mac = message[: BODY.size], message[BODY.size :]
        if len(message) != MESSAGE_BYTES or not hmac.compare_digest(
            mac, self.key.of_heartbeat(body)
        ):
            raise Rejected()
        magic, number, rank, count, instance, nonce = BODY.unpack(body)
        # Node 0 has connections to each other one, and those have none between them.
        is_peer = (rank == 0) != (self.rank == 0) and count == self.count and rank < count
        if magic != MAGIC or number != self.received or not is_peer:
            raise Rejected()
        if number == 0:
            self.peer, self.peer_nonce = (rank, instance), nonce
        elif (rank, instance) != self.peer or nonce != self.nonce:
            raise Rejected()
        self.received += 1
