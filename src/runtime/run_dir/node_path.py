"""Where a run has what belongs to one of its nodes."""

from __future__ import annotations


def node_path(rank: int) -> str:
    """What a node's keys begin with, below the prefix of the run."""
    return "node/%d/" % rank if rank else ""
