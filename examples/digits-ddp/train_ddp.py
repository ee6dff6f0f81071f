"""Handwritten digits with PyTorch's DistributedDataParallel: torchrun starts the processes, of one node or of several."""
import argparse
import json
import os
import signal
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "libs", "dataset"))
import dataset  # noqa: E402

CHECKPOINT = os.path.join(os.environ["NX_EC2_CHECKPOINT_DIR"], "last.pt")


def tensors(rows):
    return torch.tensor([image for image, _ in rows]), torch.tensor([label for _, label in rows])


def save(path, value, write=torch.save):
    write(value, path + ".tmp")
    os.replace(path + ".tmp", path)


def write_json(value, path):
    with open(path, "w") as file:
        json.dump(value, file)


def all_stop(told):
    """Whether rank 0 was told to stop: all processes learn it after the same epoch, so that none waits for another."""
    flag = torch.tensor([float(bool(told))])
    dist.broadcast(flag, src=0)
    return bool(flag)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=0.5)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    dist.init_process_group("gloo")
    rank, processes = dist.get_rank(), dist.get_world_size()
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))

    rows, held_out = dataset.split(dataset.load(os.path.join(HERE, "..", "digits", "data", "digits.csv")), 0.2, 7)
    images, labels = tensors(rows)
    held_images, held_labels = tensors(held_out)
    torch.manual_seed(7)
    model = torch.nn.Linear(64, 10)
    first = 0
    # The file is there on every node, whichever node saved it.
    if os.path.exists(CHECKPOINT):
        state = torch.load(CHECKPOINT)
        first = state["epoch"]
        model.load_state_dict(state["model"])
    print("rank %d of %d: %d images%s" % (rank, processes, len(rows) // processes, ", resumed after epoch %d" % first if first else ""), flush=True)
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=options.learning_rate)
    accuracy, stopped = 0.0, False
    for epoch in range(first, options.epochs):
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(epoch))
        # Every process makes the same number of steps.
        own = order[: len(order) // processes * processes][rank::processes]
        total = torch.zeros(1)
        for chosen in own.split(options.batch):
            loss = torch.nn.functional.cross_entropy(parallel(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(chosen)
        dist.all_reduce(total)
        if rank == 0:
            accuracy = (model(held_images).argmax(1) == held_labels).float().mean().item()
            loss = total.item() / len(own) / processes
            print("epoch %d/%d  loss %.4f  accuracy %.4f" % (epoch + 1, options.epochs, loss, accuracy), flush=True)
            save(CHECKPOINT, {"epoch": epoch + 1, "model": model.state_dict()})
        stopped = all_stop(told)
        if stopped:
            # It may come later on another node, and Python gives it its default action back at its exit.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            break
    dist.destroy_process_group()
    if rank == 0 and not stopped:
        output = os.environ["NX_EC2_OUTPUT_DIR"]
        save(os.path.join(output, "model.pt"), model.state_dict())
        save(os.path.join(output, "metrics.json"), {"accuracy": accuracy, "processes": processes}, write_json)


if __name__ == "__main__":
    main()
