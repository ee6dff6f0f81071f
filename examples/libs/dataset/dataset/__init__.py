"""Labeled images from a csv: 64 brightnesses (0 to 16) and the digit in each row."""
import csv
import random


def load(path):
    with open(path, newline="") as file:
        return [([float(value) / 16 for value in row[:-1]], int(float(row[-1]))) for row in csv.reader(file) if row]


def split(rows, held_out, seed):
    """(training rows, held-out rows), shuffled by the seed."""
    rows = list(rows)
    random.Random(seed).shuffle(rows)
    count = int(len(rows) * held_out)
    return rows[count:], rows[:count]
