"""Least squares, for those who have no matrix library."""


def least_squares(rows, values):
    """The weights that bring rows x weights nearest to values: normal equations, solved by elimination."""
    count = len(rows[0])
    system = [[sum(row[i] * row[j] for row in rows) for j in range(count)] for i in range(count)]
    right = [sum(row[i] * value for row, value in zip(rows, values)) for i in range(count)]
    for pivot in range(count):
        best = max(range(pivot, count), key=lambda index: abs(system[index][pivot]))
        system[pivot], system[best] = system[best], system[pivot]
        right[pivot], right[best] = right[best], right[pivot]
        for index in range(pivot + 1, count):
            factor = system[index][pivot] / system[pivot][pivot]
            right[index] -= factor * right[pivot]
            for column in range(pivot, count):
                system[index][column] -= factor * system[pivot][column]
    weights = [0.0] * count
    for index in reversed(range(count)):
        rest = sum(system[index][column] * weights[column] for column in range(index + 1, count))
        weights[index] = (right[index] - rest) / system[index][index]
    return weights
