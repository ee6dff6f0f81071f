"""Looks for the learning rate that recognizes handwritten digits best, with Ray Tune: a trial for each rate, on any node. The driver, on node 0, saves the search, and the next attempt restores it."""
import argparse
import glob
import os
import random
import signal
import sys

import ray
from ray import tune

HERE = os.path.dirname(os.path.abspath(__file__))
CODE = [os.path.join(HERE, "..", "digits"), os.path.join(HERE, "..", "libs", "dataset")]
sys.path[:0] = CODE
import dataset  # noqa: E402
import train as digits  # noqa: E402

RATES = [0.3, 0.2, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003, 0.002, 0.001]


def trial(config, epochs, rows, held_out):
    """`rows` and `held_out` come from the driver: Ray copies them to each node once."""
    node = int(os.environ["NX_EC2_NODE_RANK"])
    weights = [[0.0] * 65 for _ in range(digits.CLASSES)]
    for epoch in range(1, epochs + 1):
        digits.train_epoch(weights, random.Random(epoch).sample(rows, len(rows)), config["rate"])
        found = {"epoch": epoch, "node": node, "accuracy": digits.share_right(weights, held_out)}
        # Nodes share no file system: a model as small as this one is a part of the last report.
        tune.report(dict(found, weights=weights) if epoch == epochs else found)


class Shown(tune.Callback):
    def on_trial_complete(self, iteration, trials, trial, **info):
        found = trial.last_result
        print("trial %g on node %d  accuracy %.4f" % (trial.config["rate"], found["node"], found["accuracy"]), flush=True)


def is_whole(search):
    """Whether an earlier attempt has saved what `Tuner.restore` needs."""
    return tune.Tuner.can_restore(search) and bool(glob.glob(os.path.join(search, "experiment_state-*")))


def the_tuner(checkpoints, trainable):
    search = os.path.join(checkpoints, "search")
    if is_whole(search):
        # Trials that have ended are not trained again.
        return tune.Tuner.restore(search, trainable, restart_errored=True)
    return tune.Tuner(
        trainable,
        param_space={"rate": tune.grid_search(RATES)},
        tune_config=tune.TuneConfig(metric="accuracy", mode="max", reuse_actors=True),
        run_config=tune.RunConfig(
            name="search",
            # Of node 0: only the driver writes to it, as long as trials report no checkpoints.
            storage_path=checkpoints,
            # A trial whose node or worker is lost begins again on another one.
            failure_config=tune.FailureConfig(max_failures=3),
            callbacks=[Shown()],
            verbose=0,
        ),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    # Each node has a copy of the code, in the same place: trials import it as the driver does.
    ray.init(runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(CODE)}})
    # After ray.init, which sets a handler of its own. Tune ends and saves the search at SIGINT.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    rows, held_out = dataset.split(dataset.load(os.path.join(HERE, "..", "digits", "data", "digits.csv")), 0.2, 7)
    trainable = tune.with_parameters(trial, epochs=options.epochs, rows=rows, held_out=held_out)
    tuner = the_tuner(os.environ["NX_EC2_CHECKPOINT_DIR"], trainable)
    results = tuner.fit()
    ended = [each for each in results if each.metrics and "weights" in each.metrics]
    if len(ended) < len(RATES):
        print("stopped after %d of %d trials" % (len(ended), len(RATES)), flush=True)
        sys.exit(1 if results.errors else 0)
    best = max(ended, key=lambda each: each.metrics["accuracy"])
    accuracy, rate = best.metrics["accuracy"], best.config["rate"]
    print("best: learning rate %g  accuracy %.4f" % (rate, accuracy), flush=True)
    output = os.environ["NX_EC2_OUTPUT_DIR"]
    digits.save(os.path.join(output, "model.json"), {"weights": best.metrics["weights"]})
    digits.save(os.path.join(output, "metrics.json"), {"accuracy": accuracy, "rate": rate})


if __name__ == "__main__":
    main()
