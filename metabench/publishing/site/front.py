"""The front page: two ways in, one chart, three findings with their caveats, which method to use, and the boards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from metabench.publishing.boards.view import DEFAULT, RECOMMENDED
from metabench.publishing.charts import plots
from metabench.publishing.charts.plots import EPOCHS, TRIALS, Series
from metabench.publishing.pages import wording
from metabench.scores.frames import REFERENCE

if TYPE_CHECKING:
    from metabench.publishing.site.collect import Collection, PublishedBoard

#: situation, method, command; the methods in backquotes have a page
ADVICE = (
    (
        "You have data and want a tuned network",
        "`portfolio` for the first trials, then `empirical_gp`",
        "metabench tune --data my.csv --target y",
    ),
    (
        "You want to know what to try first, without training",
        "`portfolio`",
        "metabench recommend --data my.csv --target y",
    ),
    (
        "You tune your own script with Optuna",
        "`empirical_gp`",
        'mb.interop.optuna.MetaSampler.from_pretrained("mlp-v2")',
    ),
    ("You can afford fifty trials or more", "`tpe`, which does not need other tasks", "optuna.samplers.TPESampler()"),
    ("Your search space is unlike those here", "`tpe`, or `default` and changes of it", "optuna.samplers.TPESampler()"),
    (
        "You can stop trainings early and have no stored runs",
        "`asha`",
        "optuna.pruners.SuccessiveHalvingPruner()",
    ),
    (
        "You benchmark a method of your own",
        "all published methods, for comparison",
        "metabench evaluate --board few-shot --method my_pkg:MyModel",
    ),
)


def chart(b: PublishedBoard) -> Markup | None:
    """Random search, the default, the recommended method, and a band over the leading group; None on boards of predictions."""
    frame, standing = b.curves(), b.standing
    if frame is None or standing is None:
        return None
    column = "trainings" if b.board.by_epochs else "trial"
    parts = {m: part.sort_values(column) for m, part in frame.groupby("method")}

    def series(method: str, css: str) -> Series:
        part = parts[method]
        mean = part["valid_regret"].tolist()
        ends = (part[f"valid_{end}"].fillna(part["valid_regret"]).tolist() for end in ("low", "high"))
        return Series(method, css, part[column].tolist(), mean, *ends)

    drawn = []
    means = [parts[m]["valid_regret"].tolist() for m in standing.members(1) if m in parts]
    if len(means) > 1 and len({len(m) for m in means}) == 1:
        low, high = ([f(c) for c in zip(*means, strict=True)] for f in (min, max))
        x = parts[standing.members(1)[0]][column].tolist()
        drawn.append(Series("better than random search", "tier", x, high, low, high))
    wanted = {RECOMMENDED: "c1", DEFAULT: "c2", REFERENCE: "reference"}
    drawn += [series(m, css) for m, css in wanted.items() if m in parts]
    ends = "; ".join(f"{s.method} {wording.num(s.mean[-1])}" for s in drawn if s.css != "tier")
    return plots.regret_panel(
        drawn,
        uid="leading",
        title=f"{b.title}: valid regret over trials",
        description=f"At the end: {ends}.",
        log=True,
        axis=EPOCHS if b.board.by_epochs else TRIALS,
    )


def findings(c: Collection) -> list[dict[str, Any]]:
    """Up to three findings with a caveat each; one whose board or methods are not published is left out."""
    boards = {b.board.name: b for b in c.published}
    made = (_search(c), _prediction(boards.get("predict")), _stopping(boards.get("multi-fidelity")))
    return [finding for finding in made if finding]


def _search(c: Collection) -> dict[str, Any] | None:
    b = next((b for b in c.published if not b.predicts), None)
    if b is None or b.standing is None:
        return None
    led = [line.value for line in b.lines if b.standing.groups[line.method] == 1]
    random = b.line(REFERENCE)
    if not led or random is None:
        text = f"After {b.mark} trials no method is shown to be better than random search."
        return {"title": "Search", "text": text, "caveat": _undecided(b), "b": b}
    text = (
        f"{len(led)} of {len(b.lines) - 1} methods are shown to be better than random search after {b.mark} trials. "
        f"Their regret is {_range(led)}; random search has {wording.num(random.value)}."
    )
    return {"title": "Learning from other tasks pays", "text": text, "caveat": _undecided(b), "b": b}


def _undecided(b: PublishedBoard) -> str:
    standing = b.standing
    assert standing is not None
    tasks = len(b.by_task.index)
    return (
        f"{tasks} tasks do not show which method is best: {standing.decided} of {standing.pairs:,} pairs of methods "
        "differ significantly."
    )


def _prediction(b: PublishedBoard | None) -> dict[str, Any] | None:
    if b is None:
        return None
    at = {(r["method"], r["observed"]): r for r in b.results["summary"]}
    few, many = min(n for _, n in at), max(n for _, n in at)
    known, alone = at.get((RECOMMENDED, few)), at.get(("gp", many))
    if known is None or alone is None or few != 0:
        return None
    text = (
        f"Before any trial, {RECOMMENDED} predicts the order of the configurations with a rank correlation of "
        f"{wording.share(known['spearman'])}. After {many} trials a Gaussian process without other tasks reaches "
        f"{wording.share(alone['spearman'])}."
    )
    caveat = "A good correlation over all configurations says little about the order of the few best ones."
    return {"title": "Scores can be predicted before training", "text": text, "caveat": caveat, "b": b}


def _stopping(b: PublishedBoard | None) -> dict[str, Any] | None:
    asha, random, known = (None if b is None else b.line(m) for m in ("asha", REFERENCE, RECOMMENDED))
    if b is None or asha is None or random is None or known is None:
        return None
    text = (
        f"With the epochs of {b.mark} trainings, early stopping (asha) has a regret of {wording.num(asha.value)} and random "
        f"search {wording.num(random.value)}. {RECOMMENDED}, which trains every proposal to the end, has "
        f"{wording.num(known.value)}."
    )
    caveat = f"The intervals are wide: asha {_band(asha)}, {RECOMMENDED} {_band(known)}."
    return {"title": "Early stopping helps, knowledge helps more", "text": text, "caveat": caveat, "b": b}


def _band(line: Any) -> str:
    return f"{wording.num(line.band[0])}–{wording.num(line.band[1])}"


def _range(values: list[float]) -> str:
    low, high = wording.num(min(values)), wording.num(max(values))
    return low if low == high else f"{low}–{high}"
