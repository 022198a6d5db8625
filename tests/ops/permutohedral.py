"""A readable permutohedral lattice, vertex by vertex in dictionaries, to compare the compiled one with."""

import numpy as np


def corners(features):
    """Vertices (tuples of d + 1 integers) and barycentric weights of one point; features in units of deviations."""
    d = len(features)
    scaled = [f * np.sqrt(2 / 3) * (d + 1) / np.sqrt((i + 1) * (i + 2)) for i, f in enumerate(features)]
    elevated = np.array([sum(scaled[i:]) - (i * scaled[i - 1] if i else 0) for i in range(d + 1)])
    zero = np.round(elevated / (d + 1)).astype(int) * (d + 1)
    order = np.argsort(-(elevated - zero), kind="stable")
    rank = np.empty(d + 1, int)
    rank[order] = np.arange(d + 1)
    rank += zero.sum() // (d + 1)
    for i in range(d + 1):
        if rank[i] < 0:
            rank[i] += d + 1
            zero[i] += d + 1
        elif rank[i] > d:
            rank[i] -= d + 1
            zero[i] -= d + 1
    ordered = np.empty(d + 1)
    ordered[rank] = (elevated - zero) / (d + 1)
    weights = [1 + ordered[d] - ordered[0]] + [ordered[d - k] - ordered[d - k + 1] for k in range(1, d + 1)]
    vertices = [
        tuple(int(z) + (k if r <= d - k else k - d - 1) for z, r in zip(zero, rank, strict=True)) for k in range(d + 1)
    ]
    return vertices, weights


def filter_matrix(features):
    """K [N, N] of what the lattice makes of exp(-|f_i - f_j|^2 / 2), up to a factor; features [N, d]."""
    n, d = features.shape
    values = {}
    places = [corners(f) for f in features]
    for i, (vertices, weights) in enumerate(places):
        for vertex, weight in zip(vertices, weights, strict=True):
            values.setdefault(vertex, np.zeros(n))[i] += weight
    nothing = np.zeros(n)
    steps = [np.eye(d + 1, dtype=int)[j] * (d + 1) - 1 for j in range(d + 1)]
    for vertex in list(values):  # the ring: neighbours that no pixel touches
        for step in steps:
            for sign in (1, -1):
                values.setdefault(tuple(np.array(vertex) + sign * step), nothing)
    for step in steps:
        values = {
            v: x
            + 0.5 * values.get(tuple(np.array(v) + step), nothing)
            + 0.5 * values.get(tuple(np.array(v) - step), nothing)
            for v, x in values.items()
        }
    return np.array([sum(w * values[v] for v, w in zip(*place, strict=True)) for place in places])
