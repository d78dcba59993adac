"""The dataset card of a table, generated from the table alone: README.md and a picture of how alike its tasks are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metabench import schema
from metabench.errors import MetabenchError
from metabench.table import manifest
from metabench.table.describe import AGREEMENT_BAR, NOISE_BAR, Description, at_bounds, describe
from metabench.table.read import Table

#: hand-written words about a table, kept beside it and copied into its card
NOTES = "NOTES.md"
_LEVELS = 16


def write(path: str | Path) -> list[Path]:
    """Write the card of the table in a folder; the paths written. Raises MetabenchError when they cannot be."""
    path, written = Path(path), []
    for name, content in contents(path).items():
        try:
            (path / name).write_text(content, encoding="utf-8")
        except OSError as error:
            raise MetabenchError(f"{path / name} cannot be written: {error.strerror or error}") from None
        written.append(path / name)
    return written


def check(path: str | Path) -> list[Path]:
    """Files of the card that are absent or not what the table gives."""
    path = Path(path)
    return [
        path / name
        for name, content in contents(path).items()
        if not (path / name).exists() or (path / name).read_text(encoding="utf-8") != content
    ]


def contents(path: Path) -> dict[str, str]:
    """File name → content of everything that a card consists of."""
    table = Table(path)
    if not table.workloads or not any(table.runs(w, ["seed"]).num_rows for w in table.workloads):
        raise MetabenchError(f"{path} holds no runs to describe; generate some first")
    found = [describe(table, workload) for workload in table.workloads]
    pictures = {f"similarity-{d.workload}.svg": similarity_svg(d) for d in found}
    return {"README.md": readme(table, found), **pictures}


def readme(table: Table, found: list[Description]) -> str:
    """The card in Markdown, with the front matter that Hugging Face reads."""
    title = f"{table.name} v{table.version}"
    files = manifest.read(table.path)
    size = sum((table.path / f).stat().st_size for f in files if f.startswith("runs/"))
    runs = sum(d.runs for d in found)
    tasks = table.tasks
    lines = [_front_matter(table), f"# {title}", ""]
    lines += [
        f"{runs:,} training runs of real networks on {len(tasks)} tasks from {tasks['family'].nunique()} families of "
        f"data sets, with learning curves. {size / 1e6:.1f} MB on disk, {size / runs:.0f} bytes a run. Digest "
        f"`{table.digest}`.",
        "",
    ]
    notes = table.path / NOTES
    if notes.exists():
        lines += [notes.read_text(encoding="utf-8").strip(), ""]
    lines += ["## Load it", "", "```python", *snippets(table, found[0].workload), "```", ""]
    for d in found:
        lines += _workload(table, d)
    lines += ["## Columns of `runs/`", "", "| column | type | meaning |", "|---|---|---|"]
    for f in schema.RUNS:
        kind = "string" if f.type == schema.RUNS.field("task_id").type else str(f.type).replace("element: ", "")
        lines.append(f"| `{f.name}` | {kind} | {f.metadata[b'description'].decode()} |")
    lines += ["", "`seconds` is processor time on the machine named in `device`; losses keep 16 significant bits.", ""]
    lines += ["## Tasks", "", "| task | family | kind | metric | rows | inputs | classes | chance | licence |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for t in tasks.itertuples():
        lines.append(
            f"| {t.task_id} | {t.family} | {t.kind} | {t.metric} | {t.n_rows:,} | {t.n_features} | {t.n_classes} | "
            f"{t.chance:.3f} | {t.licence} |"
        )
    return "\n".join(lines).rstrip() + "\n"


def snippets(table: Table, workload: str) -> list[str]:
    """The same rows by metabench, pandas, polars and DuckDB."""
    runs = f"datasets/{table.name}/v{table.version}/runs/{workload}"
    whole = f"runs/{workload}.parquet" in manifest.read(table.path)
    path = f"{runs}.parquet" if whole else f"{runs}-*.parquet"
    pandas = f'pd.read_parquet("{path}")' if whole else f'pd.concat(map(pd.read_parquet, sorted(glob("{path}"))))'
    return [
        *([] if whole else ["from glob import glob"]),
        "import metabench as mb, pandas as pd, polars as pl, duckdb",
        f'table = mb.load_table("{table.name}")',
        f'runs = table.runs("{workload}").to_pandas()',
        f"runs = {pandas}",
        f'runs = pl.read_parquet("{path}")',
        f"runs = duckdb.sql(\"select * from '{path}'\").df()",
    ]


def _front_matter(table: Table) -> str:
    lines = ["---", f"pretty_name: metabench {table.name}", "license: other", "tags: [hyperparameter-optimization]"]
    lines += ["configs:", "- config_name: tasks", "  data_files: tasks.parquet"]
    for workload in table.workloads:
        lines += [f"- config_name: {workload}", f"  data_files: runs/{workload}*.parquet"]
        lines += [f"- config_name: {workload}-configs", f"  data_files: configs/{workload}.parquet"]
    return "\n".join([*lines, "---", ""])


def _workload(table: Table, d: Description) -> list[str]:
    noisy = d.tasks.loc[d.tasks["noisy"], "task_id"].tolist()
    bounds = at_bounds(table, d.workload)
    lines = [
        f"## `{d.workload}`: {d.runs:,} runs",
        "",
        f"{d.configs} shared configurations (scrambled Sobol) × {d.seeds} seeds × {len(d.tasks)} tasks. "
        f"{d.diverged:.1%} of the runs diverged, {d.failed:.1%} failed. Training took {d.seconds / 3600:.2f} core "
        f"hours for {d.flops / 1e12:.0f} TFLOP: {d.runs / d.seconds:.0f} runs and {d.flops / d.seconds / 1e9:.0f} GFLOP a "
        "core-second.",
        "",
        "| device | engine | runs |",
        "|---|---|---|",
        *[f"| {row.device} | {row.engine} | {row.runs:,} |" for row in d.provenance.itertuples()],
        "",
        f"**Noise.** Median over tasks: seed variance over configuration variance {d.tasks['noise'].median():.3f}, "
        f"Spearman correlation of two seeds {d.tasks['seed_rho'].median():.2f}, of validation with test scores "
        f"{d.tasks['valid_test_rho'].median():.2f} (over configurations; scores under the 5th percentile are clipped "
        f"to it). Flagged as noisy (ratio over {NOISE_BAR} or correlation with test under {AGREEMENT_BAR}): "
        f"{len(noisy)} tasks" + (f" ({', '.join(noisy)})." if noisy else "."),
        "",
        f"**Similarity.** Mean Spearman correlation between tasks over configurations: {d.mean_similarity:.2f}.",
        "",
        f"![Spearman correlation between the tasks of {d.workload}](similarity-{d.workload}.svg)",
        "",
        "**Bounds of the space.** Share of tasks whose best configuration lies in the outer 2.5 % of a "
        "hyperparameter's range at its low and high end (chance gives 2.5 % each):",
        "",
        "| hyperparameter | low end | high end |",
        "|---|---|---|",
        *[f"| {row.hyperparameter} | {row.low:.1%} | {row.high:.1%} |" for row in bounds.itertuples()],
        "",
        "| task | median score | best score | noise ratio | seed ρ | valid–test ρ |",
        "|---|---|---|---|---|---|",
    ]
    for t in d.tasks.itertuples():
        flag = " (noisy)" if t.noisy else ""
        lines.append(
            f"| {t.task_id}{flag} | {t.median:.3f} | {t.best:.3f} | {t.noise:.3f} | {t.seed_rho:.2f} | "
            f"{t.valid_test_rho:.2f} |"
        )
    return [*lines, ""]


def similarity_svg(d: Description) -> str:
    """A heat map of the tasks' correlations, tasks ordered by average-linkage clustering; byte-stable."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    n = len(d.similarity)
    rho = np.clip(np.nan_to_num(d.similarity), -1.0, 1.0)
    order = np.arange(n)
    if n > 2:
        gap = 1.0 - (rho + rho.T) / 2
        np.fill_diagonal(gap, 0.0)
        order = leaves_list(linkage(squareform(gap, checks=False), "average", optimal_ordering=True))
    level = np.floor((rho[np.ix_(order, order)].clip(0, 1)) * (_LEVELS - 1) + 0.5).astype(int)
    cell, left = 8, 150
    names = [d.tasks["task_id"].iloc[i].removeprefix(f"{d.workload}-") for i in order]
    width = left + n * cell + 70
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {n * cell + 40}" role="img" '
        f'font-family="sans-serif" font-size="7" fill="#333"><title>Spearman correlation between tasks</title>',
        f'<rect width="{width}" height="{n * cell + 40}" fill="#fff"/>',
    ]
    for k in range(_LEVELS):
        moves = "".join(
            f"M{left + x * cell} {y * cell + 10}h{cell}v{cell}h-{cell}z"
            for y, x in zip(*np.where(level == k), strict=True)
        )
        parts.append(f'<path d="{moves}" fill="{_colour(k / (_LEVELS - 1))}"/>')
    parts += [
        f'<text x="{left - 4}" y="{y * cell + 16}" text-anchor="end">{name}</text>' for y, name in enumerate(names)
    ]
    for k in range(_LEVELS):
        y = 10 + (_LEVELS - 1 - k) * 10
        parts.append(f'<rect x="{width - 55}" y="{y}" width="12" height="10" fill="{_colour(k / (_LEVELS - 1))}"/>')
    parts += [
        f'<text x="{width - 39}" y="18">1</text><text x="{width - 39}" y="{10 * _LEVELS + 8}">≤ 0</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _colour(t: float) -> str:
    """From pale to deep blue-green, monotone in lightness."""
    stops = np.array([[247, 252, 240], [123, 204, 196], [8, 64, 129]], dtype=float)
    x = t * 2
    i = min(int(x), 1)
    rgb = stops[i] + (stops[i + 1] - stops[i]) * (x - i)
    return "#" + "".join(f"{round(v):02x}" for v in rgb)
