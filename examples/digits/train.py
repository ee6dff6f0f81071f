"""Handwritten digits by softmax regression, in pure Python: over 90 % on held-out images in seconds."""
import argparse
import csv
import json
import math
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "libs", "dataset"))
import dataset  # noqa: E402

CLASSES = 10


def scores(weights, image):
    return [row[-1] + sum(w * x for w, x in zip(row, image)) for row in weights]


def probabilities(values):
    top = max(values)
    exps = [math.exp(value - top) for value in values]
    total = sum(exps)
    return [value / total for value in exps]


def predict(weights, image):
    values = scores(weights, image)
    return values.index(max(values))


def train_epoch(weights, rows, rate):
    loss = 0.0
    for image, label in rows:
        found = probabilities(scores(weights, image))
        loss -= math.log(max(found[label], 1e-12))
        for digit in range(CLASSES):
            step = rate * (found[digit] - (digit == label))
            row = weights[digit]
            for at, x in enumerate(image):
                if x:
                    row[at] -= step * x
            row[-1] -= step
    return loss / len(rows)


def save(path, value):
    with open(path + ".tmp", "w") as file:
        json.dump(value, file)
    os.replace(path + ".tmp", path)


def share_right(weights, rows):
    return sum(predict(weights, image) == label for image, label in rows) / len(rows)


def newest(checkpoints):
    names = sorted(name for name in os.listdir(checkpoints) if name.startswith("epoch-") and name.endswith(".json"))
    return os.path.join(checkpoints, names[-1]) if names else None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--held-out", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--resume", metavar="CHECKPOINT", help="go on from a checkpoint")
    options = parser.parse_args()
    output = os.environ.get("NX_EC2_OUTPUT_DIR", os.path.join(HERE, "artifacts"))
    checkpoints = os.environ.get("NX_EC2_CHECKPOINT_DIR", os.path.join(output, "checkpoints"))
    os.makedirs(checkpoints, exist_ok=True)
    # On EC2 the directory is a run's own: what is there was put back for an attempt after the first.
    resume = options.resume or ("NX_EC2_CHECKPOINT_DIR" in os.environ and newest(checkpoints))

    rows, held_out = dataset.split(dataset.load(os.path.join(HERE, "data", "digits.csv")), options.held_out, options.seed)
    print("%d images to train on, %d held out" % (len(rows), len(held_out)))
    first, weights = 0, [[0.0] * 65 for _ in range(CLASSES)]
    if resume:
        with open(resume) as file:
            state = json.load(file)
        first, weights = state["epoch"], state["weights"]
        print("resumed after epoch %d" % first)
    for epoch in range(first, options.epochs):
        # Each epoch has an order of its own, so that a resumed training goes on exactly as it would have.
        order = random.Random(options.seed * 1000 + epoch).sample(rows, len(rows))
        loss = train_epoch(weights, order, options.learning_rate)
        print("epoch %d/%d  loss %.4f  accuracy %.4f" % (epoch + 1, options.epochs, loss, share_right(weights, held_out)))
        save(os.path.join(checkpoints, "epoch-%03d.json" % (epoch + 1)), {"epoch": epoch + 1, "weights": weights})
    save(os.path.join(output, "model.json"), {"weights": weights})
    accuracy = share_right(weights, held_out)
    save(os.path.join(output, "metrics.json"), {"accuracy": accuracy, "epochs": options.epochs})
    with open(os.path.join(output, "predictions.csv"), "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "prediction"])
        writer.writerows([label, predict(weights, image)] for image, label in held_out)
    print("accuracy %.4f on %d held-out images" % (accuracy, len(held_out)))


if __name__ == "__main__":
    main()
