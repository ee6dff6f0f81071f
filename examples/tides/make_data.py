"""Writes data/tides.csv, hour by hour for a year: it is git-ignored and travels by "sync.include"."""
import math
import random
from pathlib import Path

PERIODS = {"M2": 12.4206, "S2": 12.0, "K1": 23.9345, "O1": 25.8193}
HEIGHTS = {"M2": 1.6, "S2": 0.5, "K1": 0.3, "O1": 0.2}

if __name__ == "__main__":
    source = random.Random(1)
    path = Path(__file__).parent / "data/tides.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as out:
        out.write("hour,height\n")
        for hour in range(24 * 365):
            tide = sum(HEIGHTS[name] * math.sin(2 * math.pi * hour / period) for name, period in PERIODS.items())
            out.write("%d,%.4f\n" % (hour, tide + source.gauss(0, 0.1)))
    print("wrote %s" % path)
