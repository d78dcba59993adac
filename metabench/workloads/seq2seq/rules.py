"""What is known without a network: rules of endings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np

Tokens = list[int]
Pairs = list[tuple[Tokens, Tokens]]


def pairs(x: np.ndarray, y: np.ndarray) -> Pairs:
    """Sources and targets of arrays as the view gives them, without what fills the rows and the end."""
    return [
        ([int(t) for t in source if t], [int(t) for t in target[: int((target == 1).argmax())]])
        for source, target in zip(x, y, strict=True)
    ]


def letters(train: Pairs) -> dict[int, int]:
    """Token of sources → the token of targets that is the same letter: those whose counts go together best, each taken
    once. Sources and targets are numbered apart; tags, which no target has, are left over."""
    sides = []
    for side in range(2):
        table = np.zeros((len(train), 1 + max(max(pair[side], default=0) for pair in train)))
        for row, pair in enumerate(train):
            np.add.at(table[row], pair[side], 1.0)
        table -= table.mean(0)
        sides.append(table / np.maximum(np.linalg.norm(table, axis=0), 1e-9))
    alike = sides[0].T @ sides[1]
    found: dict[int, int] = {}
    for place in np.argsort(-alike, axis=None, kind="stable"):
        a, b = divmod(int(place), alike.shape[1])
        if alike[a, b] < 0.3:
            break
        if a not in found and b not in found.values():
            found[a] = b
    return found


def rules(train: Pairs) -> Callable[[Tokens], Tokens]:
    """The commonest change of the longest ending that was seen with the same tags, as the baseline of CoNLL-SIGMORPHON
    (Cotterell et al., 2017) has it for languages that inflect at the end."""
    same = letters(train)

    def split(source: Tokens) -> tuple[tuple[int, ...], Tokens]:
        return tuple(t for t in source if t not in same), [same[t] for t in source if t in same]

    seen: dict[tuple, Counter] = defaultdict(Counter)
    for source, form in train:
        tags, lemma = split(source)
        kept = next(
            (i for i, (a, b) in enumerate(zip(lemma, form, strict=False)) if a != b), min(len(lemma), len(form))
        )
        for i in range(kept + 1):
            seen[tags, tuple(lemma[i:])][tuple(form[i:])] += 1

    def inflected(source: Tokens) -> Tokens:
        tags, lemma = split(source)
        for i in range(len(lemma) + 1):
            if (changes := seen.get((tags, tuple(lemma[i:])))) is not None:
                return lemma[:i] + list(changes.most_common(1)[0][0])
        return lemma

    return inflected


def share(arrays) -> float:
    """Share of the test rows that the rules of the training rows get right."""
    method = rules(pairs(arrays.x_train, arrays.y_train))
    return float(np.mean([method(source) == target for source, target in pairs(arrays.x_test, arrays.y_test)]))
