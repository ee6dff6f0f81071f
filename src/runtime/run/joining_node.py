"""A node that is prepared while the run trains without it. It ends when it is ready: the next
attempt starts it with the others.
"""

from __future__ import annotations

from .child_process import Stop
from .node_group import NodeGroup
from .node_stop import GROWTH, NodeStop, because_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .node_variables import Nodes

# After such an end of the others, another attempt may follow.
RESUMABLE = ("interrupted", "lost")


class JoiningNode(NodeGroup):
    def ended_by_others(self) -> NodeStop | None:
        first = next((peer.record for peer in self.view.peers() if peer.record), None)
        if first is None or first["outcome"] in (None, *RESUMABLE):
            return None
        return because_of("cancelled", first["failedNode"], self.grace_s)

    def wait_for_previous_turn(self) -> None:
        """Its instance was launched for this run alone."""

    def wait_until_ready(self) -> Nodes:
        self.run.log.say("%s is ready for the next attempt" % self.name)
        self.run.save(**self.changes("ready"))
        self.stops.end(Stop(GROWTH, self.grace_s))
