"""The private address of an instance, and ports of it."""

from __future__ import annotations

import os
import socket

from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

    from ..system.documents import RunRecordRendezvous

LOOPBACK = "127.0.0.1"
# Where each instance reaches its metadata.
METADATA = ((socket.AF_INET, "169.254.169.254"), (socket.AF_INET6, "fd00:ec2::254"))


def node_address(environment: Mapping[str, str] = os.environ) -> str:
    """The private address of this instance."""
    if "NX_EC2_LOCAL_INSTANCE" in environment:
        return LOOPBACK
    # Connecting a datagram socket sends nothing: the system only chooses the address to send from.
    for family, metadata in METADATA:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((metadata, 80))
                return probe.getsockname()[0]
        except OSError:
            continue
    return LOOPBACK


def free_port(address: str) -> int:
    """A port of this address that no process listens on now, so that two runs get two ports."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def own_address(environment: Mapping[str, str] = os.environ) -> str:
    """The private address of this instance. Local instances have one each, of which the metadata
    service tells: all of them share the machine's interfaces.
    """
    if "AWS_EC2_METADATA_SERVICE_ENDPOINT" in environment:
        from ..aws.metadata import Absent, Metadata

        try:
            address = Metadata().get("meta-data/local-ipv4").strip()
            free_port(address)
            return address
        except (Absent, Failure, OSError):
            pass
    return node_address(environment)


def rendezvous_of(address: str) -> RunRecordRendezvous:
    """Two ports of this node that no process listens on now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as one:
        with socket.socket(family, socket.SOCK_STREAM) as other:
            one.bind((address, 0))
            other.bind((address, 0))
            return {"port": one.getsockname()[1], "masterPort": other.getsockname()[1]}
