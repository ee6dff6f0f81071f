"""Fits the harmonics of a tide gauge and forecasts the hours that were held out."""
import csv
import json
import math
from pathlib import Path

from series import least_squares
from tabulate import tabulate

HERE = Path(__file__).parent
PERIODS = {"M2": 12.4206, "S2": 12.0, "K1": 23.9345, "O1": 25.8193}


def features(hour):
    row = [1.0]
    for period in PERIODS.values():
        angle = 2 * math.pi * hour / period
        row += [math.sin(angle), math.cos(angle)]
    return row


def main():
    with open(HERE / "data/tides.csv") as data:
        gauge = [(int(row["hour"]), float(row["height"])) for row in csv.DictReader(data)]
    split = len(gauge) * 9 // 10
    weights = least_squares([features(hour) for hour, _ in gauge[:split]], [height for _, height in gauge[:split]])
    errors = [sum(w * x for w, x in zip(weights, features(hour))) - height for hour, height in gauge[split:]]
    rmse = math.sqrt(sum(error * error for error in errors) / len(errors))
    heights = [math.hypot(weights[1 + 2 * index], weights[2 + 2 * index]) for index in range(len(PERIODS))]
    print(tabulate(zip(PERIODS, heights), headers=["constituent", "height in m"], floatfmt=".3f"))
    print("error on held-out hours %.3f m" % rmse)
    output = HERE / "artifacts"
    output.mkdir(exist_ok=True)
    (output / "model.json").write_text(json.dumps({"periods": PERIODS, "weights": weights}))
    (output / "metrics.json").write_text(json.dumps({"rmse": rmse}))


if __name__ == "__main__":
    main()
