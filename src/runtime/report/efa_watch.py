"""Warns of NCCL that uses TCP on instances with Elastic Fabric Adapters."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..system.documents import RunSpec

# What NCCL prints of the network that it uses, with NCCL_DEBUG=INFO.
OVER_TCP, OVER_EFA = b"NET/Socket", b"NET/OFI Selected provider is efa"
WARNING = (
    'NCCL uses TCP (NET/Socket) and not EFA, which "network": "efa" is for: the nodes exchange '
    "data more slowly. The image needs the EFA driver, libfabric and aws-ofi-nccl"
)


class EfaWatch:
    """`has_warned`: before the reporter was started again."""

    def __init__(self, spec: RunSpec, has_warned: bool) -> None:
        node = spec.get("node")
        self.is_over = has_warned or not (node and node.get("network") == "efa")
        self.held = b""

    def look(self, data: bytes) -> str | None:
        """What the next piece of the log, cut anywhere, gives reason to say; None where nothing."""
        if self.is_over:
            return None
        data = self.held + data
        self.held = data[1 - len(OVER_EFA) :]
        if OVER_EFA in data:
            self.is_over = True
        elif OVER_TCP in data:
            self.is_over = True
            return WARNING
        return None
