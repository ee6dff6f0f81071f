"""Looks for the learning rate that recognizes handwritten digits best: each trial is a task of Ray, on any node. The driver, on node 0, saves what the trials return."""
import argparse
import json
import os
import random
import signal
import sys

import ray

HERE = os.path.dirname(os.path.abspath(__file__))
CODE = [os.path.join(HERE, "..", "digits"), os.path.join(HERE, "..", "libs", "dataset")]
sys.path[:0] = CODE
import dataset  # noqa: E402
import train as digits  # noqa: E402

RATES = [0.3, 0.2, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003, 0.002, 0.001]


@ray.remote(num_cpus=1)
def trial(rate, epochs, rows, held_out):
    """`rows` and `held_out` come from the driver: Ray copies them to each node once."""
    weights = [[0.0] * 65 for _ in range(digits.CLASSES)]
    for epoch in range(epochs):
        digits.train_epoch(weights, random.Random(epoch).sample(rows, len(rows)), rate)
    accuracy = digits.share_right(weights, held_out)
    return {"rate": rate, "accuracy": accuracy, "node": int(os.environ["NX_EC2_NODE_RANK"]), "weights": weights}


def load(path):
    """The trials that an earlier attempt has saved."""
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return json.load(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    # Each node has a copy of the code, in the same place: tasks import it as the driver does.
    ray.init(runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(CODE)}})
    told = []
    # After ray.init, which sets a handler of its own.
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    # The directory is node 0's: nodes share no file system, so tasks return what is to be saved.
    checkpoint = os.path.join(os.environ["NX_EC2_CHECKPOINT_DIR"], "trials.json")
    trials = load(checkpoint)
    if trials:
        print("resumed after %d of %d trials" % (len(trials), len(RATES)), flush=True)
    rows, held_out = dataset.split(dataset.load(os.path.join(HERE, "..", "digits", "data", "digits.csv")), 0.2, 7)
    rows, held_out = ray.put(rows), ray.put(held_out)
    known = {each["rate"] for each in trials}
    running = [trial.remote(rate, options.epochs, rows, held_out) for rate in RATES if rate not in known]
    while running and not told:
        # Not longer than a second, so that a stop is noticed.
        ended, running = ray.wait(running, timeout=1)
        for each in ray.get(ended):
            trials.append(each)
            print("trial %(rate)g on node %(node)d  accuracy %(accuracy).4f" % each, flush=True)
            digits.save(checkpoint, trials)
    if told:
        print("stopped after %d of %d trials" % (len(trials), len(RATES)), flush=True)
        return
    best = max(trials, key=lambda each: each["accuracy"])
    print("best: learning rate %(rate)g  accuracy %(accuracy).4f" % best, flush=True)
    output = os.environ["NX_EC2_OUTPUT_DIR"]
    digits.save(os.path.join(output, "model.json"), {"weights": best["weights"]})
    digits.save(os.path.join(output, "metrics.json"), {"accuracy": best["accuracy"], "rate": best["rate"]})


if __name__ == "__main__":
    main()
