"""HPO-B in miniature: its files with the real layout, two search spaces that split data sets anew."""

import json

import numpy as np

#: space → part → data sets
LAYOUT = {
    "4796": {"train": ["3", "31", "37", "43"], "validation": ["49"], "test": ["3549", "9903"]},
    "5527": {"train": ["3549", "31", "10101", "9903"], "validation": ["3"], "test": ["37", "43", "49"]},
}
COLUMNS = {"4796": ["cp", "cp.na", "minsplit"], "5527": ["cost", "gamma"]}


def surface(x, centre):
    """A smooth score in (0, 1] with its best at ``centre``."""
    return np.exp(-3.0 * ((x - centre) ** 2).sum(axis=1))


def content(seed=0, rows=40, small=12):
    """File name → content. Data sets have pools of their own; the last of a part has only ``small`` rows."""
    rng = np.random.default_rng(seed)
    files = {f"meta-{part}-dataset.json": {} for part in ("train", "validation", "test")}
    starts, described = {}, {}
    for space, parts in LAYOUT.items():
        width = len(COLUMNS[space])
        shared = rng.random((5, width)).round(6)
        for part, datasets in parts.items():
            for name in datasets:
                n = small if name == datasets[-1] and part == "test" else rows
                x = np.concatenate([shared, rng.random((n - 6, width)).round(6)])
                x = np.concatenate([x, x[:1]])  # a configuration that was evaluated twice
                y = surface(x, 0.5 + 0.2 * rng.random(width)) + 0.01 * rng.random(n)
                files[f"meta-{part}-dataset.json"].setdefault(space, {})[name] = {
                    "X": x.tolist(),
                    "y": y[:, None].tolist(),
                }
                if part != "train":
                    first = {f"test{i}": rng.permutation(n)[:5].tolist() for i in range(5)}
                    starts.setdefault(space, {})[name] = first
        described[space] = {"variables": {}, "variables_to_apply_log": [], "variables_order": COLUMNS[space]}
    return files | {"bo-initializations.json": starts, "meta-dataset-descriptors.json": described}


def write(folder, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in content(**settings).items():
        (folder / name).write_text(json.dumps(value))
    return folder


def best_so_far(y, order):
    """HPO-B's record of a search (``HPOBHandler.evaluate``): y min–max scaled over the data set, the best after the
    five initial points and after each further one, 101 values; a search that ends early stays where it is."""
    y = np.asarray(y, float).ravel()
    y = (y - y.min()) / (y.max() - y.min())
    best = np.maximum.accumulate(y[list(order)])[4:]
    return [*best, *[best[-1]] * (101 - len(best))]
