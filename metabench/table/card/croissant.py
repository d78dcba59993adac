"""croissant.json: the table described to machines in MLCommons Croissant 1.1 (Akhtar et al., 2024)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from metabench import schema
from metabench.table import files, splits
from metabench.table.card.facts import Facts, File

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_LICENCES = {"apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0"}


_PARQUET = "application/x-parquet"


def describe(facts: Facts) -> str:
    """The table as JSON-LD: a FileObject for every file, with its hash, and a RecordSet over its columns."""
    tasks, split = "tasks.parquet", facts.split is not None
    stored = files.open_parquet(facts.table.path / tasks).schema_arrow
    # what a column means is said today; the file says what was said when it was written
    told = {f.name: f for f in schema.TASKS}
    fields = {f.name: (f.type, _meaning(told.get(f.name, f))) for f in stored}
    record_sets = [_records("tasks", tasks, "What the runs were trained on.", fields, key=["task_id"])]
    distribution = [_file(f) for f in facts.files]
    if split:
        what = "Which part of the split a task stands in."
        distribution.append(_object(splits.FILE, "text/csv", facts.split_bytes, what))
        columns = {"task_id": "task", "family": "its family", "split": "meta_train, meta_valid, meta_test or none"}
        fields = {name: (pa.string(), meaning) for name, meaning in columns.items()}
        record_sets.append(_records("splits", splits.FILE, what, fields, key=["task_id"]))
    for d in facts.workloads:
        configs = f"configs/{d.workload}.parquet"
        fields = {f.name: (f.type, _meaning(f)) for f in _schema_of(facts, configs)}
        what = f"Hyperparameters of {d.workload}; null where inactive."
        record_sets.append(_records(f"{d.workload}-configs", configs, what, fields, key=["config_id"]))
        links = {"task_id": "tasks/task_id", "config_id": f"{d.workload}-configs/config_id"}
        what = f"Training runs of {d.workload}, one a row."
        # a FileSet of several FileObjects is valid, but mlcroissant 1.1.1 cannot load one
        for file in (f for f in facts.files if f.what == "runs" and f.workload == d.workload):
            stored = set(_schema_of(facts, file.name).names)
            fields = {f.name: (f.type, _meaning(f)) for f in schema.RUNS if f.name in stored}
            record_sets.append(_records(Path(file.name).stem, file.name, what, fields, ["run_id"], links))
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": facts.title.replace(" ", "-"),
        "description": f"{facts.runs:,} training runs of real networks with their learning curves on {len(facts.tasks):,} "
        f"tasks from {facts.tasks['family'].nunique():,} families of data sets, for learning hyperparameter search across "
        "tasks.",
        "license": _LICENCES.get(facts.licence, "that of the files it was imported from"),
        "version": f"{facts.table.version or 1}.0.0",
        "creator": {"@type": "sc:Organization", "name": "The metabench developers"},
        "citeAs": f"The metabench developers. metabench: {facts.title}. Digest {facts.table.digest}.",
        **({"datePublished": facts.date} if facts.date else {}),
        "keywords": ["hyperparameter optimisation", "meta-learning", "learning curves", "benchmark"],
        "distribution": distribution,
        "recordSet": record_sets,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _meaning(field: pa.Field) -> str:
    return (field.metadata or {}).get(b"description", b"").decode()


def _file(file: File) -> dict[str, Any]:
    what = f"{file.what}: {file.rows:,} rows, schema version {file.schema}"
    return _object(file.name, _PARQUET, file.bytes, what) | {"sha256": file.sha256}


def _object(name: str, encoding: str, content: bytes | int, what: str) -> dict[str, Any]:
    size = content if isinstance(content, int) else len(content)
    out = {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": what,
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": encoding,
    }
    return out if isinstance(content, int) else out | {"sha256": hashlib.sha256(content).hexdigest()}


def _records(
    name: str,
    source: str,
    what: str,
    fields: Mapping[str, tuple[pa.DataType, str]],
    key: Sequence[str],
    links: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    out = []
    for column, (dtype, meaning) in fields.items():
        is_list = pa.types.is_list(dtype)
        field = {
            "@type": "cr:Field",
            "@id": f"{name}/{column}",
            "name": column,
            "dataType": _type(dtype),
            "source": {"fileObject": {"@id": source}, "extract": {"column": column}},
        }
        field |= {"description": meaning} if meaning else {}
        field |= {"isArray": True, "arrayShape": "-1"} if is_list else {}
        field |= {"references": {"field": {"@id": links[column]}}} if links and column in links else {}
        out.append(field)
    keys = [{"@id": f"{name}/{column}"} for column in key]
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": what, "key": keys, "field": out}


def _type(dtype: pa.DataType) -> str:
    if pa.types.is_list(dtype):
        return _type(dtype.value_type)
    if pa.types.is_dictionary(dtype):
        return _type(dtype.value_type)
    return "sc:Integer" if pa.types.is_integer(dtype) else "sc:Float" if pa.types.is_floating(dtype) else "sc:Text"


def _schema_of(facts: Facts, name: str) -> pa.Schema:
    """The columns that a file of the table has."""
    return files.open_parquet(facts.table.path / name).schema_arrow
