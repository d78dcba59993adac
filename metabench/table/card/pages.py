"""README.md and DATASHEET.md: templates filled with the facts of a table."""

from __future__ import annotations

import json
import math
import re
from functools import cache, partial
from typing import Any

import jinja2

from metabench import schema
from metabench.space import Choice, Ordinal, Parameter
from metabench.table import splits
from metabench.table.card.facts import Facts, columns, size_category
from metabench.table.describe import AGREEMENT_BAR, NEAR, NOISE_BAR, at_bounds
from metabench.table.reliability import ADMITTED, SET_APART, SPAN, of_table
from metabench.tasks.flags import FLAGS, of_frame
from metabench.tasks.splits import EVALUATION_CAP, MIN_CLASS, SMALL, SPLITS, TRAIN_CAP
from metabench.untrusted import printable

#: characters of a text of strangers
LONGEST = 500
#: tasks below which shares of them are left out
FEW = 20
_PLAIN = re.compile(r"[a-z][a-z0-9_-]*")
_BOOLEAN = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def readme(facts: Facts) -> str:
    """The dataset card, with the front matter that Hugging Face reads."""
    # of a few tasks a share says nothing
    counted = [d.workload for d in facts.workloads if len(d.tasks) >= FEW]
    bounds = {name: list(at_bounds(facts.table, name).itertuples()) for name in counted}
    return _render(
        "README.md.j2",
        facts,
        front=front_matter(facts),
        snippets=snippets(facts),
        columns=partial(columns, facts),
        bounds=bounds,
        space={d.workload: facts.table.space(d.workload).items() for d in facts.workloads},
        scale=scale,
        values=values,
        origins=partial(_origins, facts),
        admission=_admission(facts),
        SET_APART=SET_APART,
        ADMITTED=ADMITTED,
        SPAN=SPAN,
        FLAGS=FLAGS,
    )


def _origins(facts: Facts, workload: str) -> str:
    """How the configurations of a workload came to be, with numbers where there are several ways."""
    counts = facts.table.origins(workload).str.partition(":")[0].value_counts()
    if list(counts.index) == ["sobol"]:
        return "scrambled Sobol"
    names = {"sobol": "scrambled Sobol", "default": "the default"}
    return ", ".join(f"{names.get(str(name), name)} {n:,}" for name, n in counts.items())


def _admission(facts: Facts) -> dict[str, list[dict[str, Any]]]:
    """Workload → a row per task: its reliability and what speaks against it. Empty for a table that does not say how its
    configurations came to be: version 1 had no such rule."""
    if facts.imported or not facts.told_origins:
        return {}
    flags = of_frame(facts.tasks)
    out = {}
    for d in facts.workloads:
        found = of_table(facts.table, d.workload)
        if not found:  # one seed tells nothing of noise
            continue
        out[d.workload] = [
            {
                "task_id": task_id,
                "seeds": r.seeds,
                "needed": r.needed,
                "replicate": r.replicate,
                "errors": r.span / r.standard_error if r.standard_error > 0 else math.inf,
                "admitted": r.admitted,
                "flags": ", ".join(flags[task_id]),
            }
            for task_id, r in found.items()
        ]
    return out


def datasheet(facts: Facts) -> str:
    """The datasheet in the seven sections of Gebru et al. (2021)."""
    return _render("DATASHEET.md.j2", facts)


@cache
def _environment() -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("metabench.table.card"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    env.filters.update(anchor=anchor, cell=cell, code=code, link=link, name=name, number=number, plural=plural)
    env.globals.update(
        NOISE_BAR=NOISE_BAR,
        AGREEMENT_BAR=AGREEMENT_BAR,
        NEAR=NEAR,
        TRAIN_CAP=TRAIN_CAP,
        EVALUATION_CAP=EVALUATION_CAP,
        SMALL=SMALL,
        SPLITS=SPLITS,
        MIN_CLASS=MIN_CLASS,
        NUMERICS=schema.NUMERICS_VERSION,
        NONE=splits.NONE,
    )
    return env


def _render(template: str, facts: Facts, **more: Any) -> str:
    return _environment().get_template(template).render(facts=facts, **more).rstrip() + "\n"


def number(value: float) -> str:
    """Two decimals; a dash for NaN."""
    return "–" if value != value else f"{value:.2f}"


def anchor(heading: str) -> str:
    """What a link to a heading on the same page ends with, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def cell(text: Any) -> str:
    """Text as it may stand in a Markdown table: one line, nothing of it markup. Data sets are named by strangers."""
    line = printable(" ".join(str(text).split()), LONGEST)
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", line)


def name(text: Any) -> str:
    """A name as it may stand in a Markdown table: what is made of letters, digits, _ . and - stays as it is."""
    return str(text) if re.fullmatch(r"[A-Za-z0-9_. -]{1,100}", str(text)) else cell(text)


def code(text: Any) -> str:
    """Text as a code span of a Markdown table: fenced by more backticks than it holds, its pipes escaped."""
    line = printable(" ".join(str(text).split()), LONGEST).replace("|", "\\|") or " "
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def link(text: Any, url: str) -> str:
    """A Markdown link where the address is one."""
    return f"[{cell(text)}]({url})" if re.fullmatch(r"https?://[^\s()<>]+", str(url)) else cell(text)


def plural(n: int, word: str) -> str:
    """``1,024 runs``, ``1 family``."""
    many = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{n:,} {word if n == 1 else many}"


def scale(p: Parameter) -> str:
    """How a hyperparameter is spaced."""
    return "log" if getattr(p, "log", False) else "log of 1 − x" if getattr(p, "reverse", False) else ""


def values(p: Parameter) -> str:
    """What a hyperparameter may be."""
    return ", ".join(map(str, p.options)) if isinstance(p, Choice | Ordinal) else f"{p.low:g} … {p.high:g}"


# ---------------------------------------------------------------- front matter and code
def front_matter(facts: Facts) -> str:
    """YAML for Hugging Face: a configuration per kind of file, and for each part of the split one that selects its rows.

    ``filters`` is a setting of its Parquet reader. Parts as files of their own would bind the table to one split.
    """
    lines = [
        "---",
        f"pretty_name: metabench {facts.title}",
        f"license: {facts.licence}",
        "tags: [hyperparameter-optimization, meta-learning, learning-curves, benchmark, automl]",
        f"size_categories: [{size_category(facts.runs)}]",
        "configs:",
    ]
    for d in facts.workloads:
        path = f"runs/{d.workload}*.parquet" if _many(facts, d.workload) else f"runs/{d.workload}.parquet"
        lines += _config(d.workload, "full", path, default=d is facts.workloads[0])
        own = set(d.tasks["task_id"])
        for part in splits.PARTS if facts.split else ():
            names = [task for task in facts.part(part) if task in own]
            lines += _config(f"{d.workload}-{part}", part, path, names) if names else []
    lines += _config("tasks", "full", "tasks.parquet")
    for part in splits.PARTS if facts.split else ():
        lines += _config(f"tasks-{part}", part, "tasks.parquet", facts.part(part)) if facts.part(part) else []
    for d in facts.workloads:
        lines += _config(f"{d.workload}-configs", "full", f"configs/{d.workload}.parquet")
    return "\n".join([*lines, "---"])


def _config(name: str, split: str, path: str, tasks: list[str] | None = None, default: bool = False) -> list[str]:
    lines = [f"- config_name: {name}", *(["  default: true"] if default else [])]
    lines.append(f'  data_files: [{{split: {split}, path: "{path}"}}]')
    if tasks is not None:
        names = [t if _PLAIN.fullmatch(t) and t not in _BOOLEAN else json.dumps(t) for t in tasks]
        lines.append(f"  filters: [[[task_id, in, [{', '.join(names)}]]]]")
    return lines


def _many(facts: Facts, workload: str) -> bool:
    return not any(f.name == f"runs/{workload}.parquet" for f in facts.files) or (
        sum(f.what == "runs" and f.workload == workload for f in facts.files) > 1
    )


def snippets(facts: Facts) -> list[str]:
    """The same rows by metabench, pandas, polars and DuckDB."""
    table, workload = facts.table, facts.workloads[0].workload
    many = _many(facts, workload)
    path = f"{facts.folder}/runs/{workload}{'*' if many else ''}.parquet"
    pandas = f'pd.concat(map(pd.read_parquet, sorted(glob("{path}"))))' if many else f'pd.read_parquet("{path}")'
    return [
        *(["from glob import glob"] if many else []),
        "import metabench as mb, pandas as pd, polars as pl, duckdb",
        f'table = mb.load_table("{table.name}")',
        f'runs = table.runs("{workload}").to_pandas()',
        f"runs = {pandas}",
        f'runs = pl.read_parquet("{path}")',
        f"runs = duckdb.sql(\"select * from '{path}'\").df()",
    ]
