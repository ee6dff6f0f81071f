"""The nodes of one attempt as its training finds them: variables, and the options of launchers."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

    from ..system.documents import RunRecordNodeCheckpointsItem, RunRecordRendezvous


# The options of `accelerate launch` that say how the processes work together.
ACCELERATE_KINDS = (
    "--multi_gpu",
    "--cpu",
    "--tpu",
    "--use_deepspeed",
    "--use_fsdp",
    "--use_megatron_lm",
    "--config_file",
)


def is_other_node(run: Mapping[str, Any]) -> bool:
    """Whether a run, by its plan or its record, is here on another node than the first."""
    node = run.get("node")
    return bool(node and node["rank"])


class Nodes:
    """`addresses`: of all nodes by their ranks; `rank`: of this one; `checkpoints`: what all resume
    from, and `whole_checkpoint` the hash of these as one.
    """

    def __init__(
        self,
        rank: int,
        addresses: list[str],
        rendezvous: RunRecordRendezvous,
        *,
        checkpoints: Sequence[RunRecordNodeCheckpointsItem] = (),
        whole_checkpoint: str | None = None,
    ) -> None:
        self.rank, self.addresses, self.rendezvous = rank, addresses, rendezvous
        self.checkpoints, self.whole_checkpoint = checkpoints, whole_checkpoint

    @property
    def count(self) -> int:
        return len(self.addresses)

    @property
    def address(self) -> str:
        return self.addresses[self.rank]

    def variables(self) -> dict[str, str]:
        """What the configuration can't override."""
        return {
            "NX_EC2_NODE_RANK": str(self.rank),
            "NX_EC2_NUM_NODES": str(self.count),
            "NX_EC2_NODE_IPS": "\n".join(self.addresses),
        }

    def sagemaker(self) -> dict[str, str]:
        return {
            "SM_HOSTS": json.dumps(self.addresses),
            "SM_CURRENT_HOST": self.address,
            "SM_CURRENT_HOST_RANK": str(self.rank),
            "SM_HOST_COUNT": str(self.count),
            "SM_MASTER_ADDR": self.addresses[0],
            "SM_MASTER_PORT": str(self.rendezvous["masterPort"]),
        }

    def static_ranks(self) -> dict[str, str]:
        """What a program without a launcher reads, or a launcher that gets its ranks this way."""
        return {
            "MASTER_ADDR": self.addresses[0],
            "MASTER_PORT": str(self.rendezvous["masterPort"]),
            "NODE_RANK": str(self.rank),
        }

    def torchrun(self, run_id: str) -> dict[str, str]:
        """torchrun's options. Its static rendezvous keeps our ranks: with c10d they follow the
        addresses, and the process of rank 0, which saves the results, could be on any node.
        """
        first = self.addresses[0]
        host = "[%s]" % first if ":" in first else first
        return {
            "nnodes": str(self.count),
            "node_rank": str(self.rank),
            "rdzv_backend": "static",
            "rdzv_endpoint": "%s:%d" % (host, self.rendezvous["port"]),
            "rdzv_id": run_id,
            "local_addr": self.address,
        }

    def torchrun_variables(self, run_id: str) -> dict[str, str]:
        """The same for a torchrun that the command itself starts."""
        return {"PET_" + name.upper(): value for name, value in self.torchrun(run_id).items()}

    def for_any_launcher(self, run_id: str) -> dict[str, str]:
        """What a command finds whose launcher, if any, is not known."""
        return {**self.torchrun_variables(run_id), **self.static_ranks()}

    def accelerate(self, command: list[str]) -> list[str]:
        """Options of `accelerate launch` in that command."""
        # With one GPU on each node, accelerate starts a training of each node alone unless it is
        # told that there are more.
        is_chosen = any(word.partition("=")[0] in ACCELERATE_KINDS for word in command)
        return [
            "--num_machines=%d" % self.count,
            "--machine_rank=%d" % self.rank,
            "--main_process_ip=%s" % self.addresses[0],
            "--main_process_port=%d" % self.rendezvous["port"],
            *([] if is_chosen else ["--multi_gpu"]),
        ]
