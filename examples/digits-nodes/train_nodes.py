"""Handwritten digits on several nodes, in pure Python: each node trains on its own images, and after each epoch all take the mean of their weights."""
import argparse
import json
import os
import random
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "digits"), os.path.join(HERE, "..", "libs", "dataset")]
import dataset  # noqa: E402
import train as digits  # noqa: E402

RANK, NODES = int(os.environ["NX_EC2_NODE_RANK"]), int(os.environ["NX_EC2_NUM_NODES"])
ADDRESS = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
# One epoch of another node, with its start, takes no longer.
TIMEOUT_S = 120


class Group:
    """All nodes: node 0 has a connection to each other one."""

    def __init__(self):
        self.files = [each.makefile("rw") for each in (self.accept() if RANK == 0 else [self.connect()])]

    def accept(self):
        with socket.create_server(ADDRESS) as server:
            server.settimeout(TIMEOUT_S)
            accepted = [server.accept()[0] for _ in range(NODES - 1)]
        for each in accepted:
            each.settimeout(TIMEOUT_S)
        return accepted

    def connect(self):
        end = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return socket.create_connection(ADDRESS, TIMEOUT_S)
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def mean(self, weights):
        """The mean of the weights of all nodes, the same on each."""
        if RANK == 0:
            all_weights = [weights] + [receive(each) for each in self.files]
            weights = [[sum(values) / NODES for values in zip(*rows)] for rows in zip(*all_weights)]
        for each in self.files:
            each.write(json.dumps(weights) + "\n")
            each.flush()
        return weights if RANK == 0 else receive(self.files[0])


def receive(file):
    line = file.readline()
    if not line.endswith("\n"):
        sys.exit("another node closed its connection")
    return json.loads(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--pause", type=float, default=0, metavar="SECONDS", help="wait after each epoch")
    options = parser.parse_args()
    output, checkpoints = os.environ["NX_EC2_OUTPUT_DIR"], os.environ["NX_EC2_CHECKPOINT_DIR"]
    rows, held_out = dataset.split(dataset.load(os.path.join(HERE, "..", "digits", "data", "digits.csv")), 0.2, 7)
    own = rows[RANK::NODES]
    first, weights = 0, [[0.0] * 65 for _ in range(digits.CLASSES)]
    resume = digits.newest(checkpoints)
    if resume:
        with open(resume) as file:
            state = json.load(file)
        first, weights = state["epoch"], state["weights"]
    group = Group()
    print("node %d of %d: %d images%s" % (RANK, NODES, len(own), ", resumed after epoch %d" % first if resume else ""))
    for epoch in range(first, options.epochs):
        loss = digits.train_epoch(weights, random.Random(epoch).sample(own, len(own)), options.learning_rate)
        weights = group.mean(weights)
        accuracy = digits.share_right(weights, held_out)
        print("epoch %d/%d  loss %.4f  accuracy %.4f" % (epoch + 1, options.epochs, loss, accuracy))
        # All nodes have the same weights: one of them saves.
        if RANK == 0:
            digits.save(os.path.join(checkpoints, "epoch-%03d.json" % (epoch + 1)), {"epoch": epoch + 1, "weights": weights})
        time.sleep(options.pause)
    if RANK == 0:
        digits.save(os.path.join(output, "model.json"), {"weights": weights})
        digits.save(os.path.join(output, "metrics.json"), {"accuracy": accuracy, "nodes": NODES})


if __name__ == "__main__":
    main()
