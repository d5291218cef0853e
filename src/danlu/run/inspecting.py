"""What a data file or a bundle holds, as facts and as text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from danlu.bundle.predictor import Member, Predictor
from danlu.core.errors import UserError
from danlu.core.files import plain
from danlu.run.folder import RunFolder
from danlu.run.summary import show


def data_facts(source: str, *, target: str | None) -> dict[str, Any]:
    """Rows, typed columns, and what danlu notices."""
    from danlu.data.schema import conform, infer
    from danlu.data.screening import screen
    from danlu.data.sources import read
    from danlu.data.summary import column_facts
    from danlu.data.target_task import choose_task

    data = read(source)
    schema = infer(data.frame, target=target, reading=data.reading)
    frame, notes = conform(data.frame, schema)
    findings, task = [*data.notes, *notes], None
    if target is not None:
        task, why = choose_task(frame[target])
        findings += [why, *screen(frame, schema, task)]
    return plain(
        {
            "source": data.name,
            "format": data.format,
            "fingerprint": data.fingerprint,
            "num_rows": len(frame),
            "task": None if task is None else task.as_dict(),
            "columns": column_facts(frame, schema),
            "findings": [finding.as_dict() for finding in findings],
        }
    )


def data_text(facts: dict[str, Any]) -> str:
    """The facts of a data file for a terminal."""
    lines = [
        f"{facts['source']}: {facts['num_rows']:,} rows, {len(facts['columns'])} columns ({facts['format']})"
    ]
    width = max(len(column["name"]) for column in facts["columns"])
    for column in facts["columns"]:
        role = "" if column["role"] == "feature" else f" [{column['role']}]"
        missing = f", {column['num_missing']:,} missing" if column["num_missing"] else ""
        lines.append(
            f"  {column['name']:<{width}}  {column['type']}{role}, "
            f"{column['num_unique']:,} distinct{missing}. {column['why']}"
        )
    lines += [f"{finding['severity']}: {finding['message']}" for finding in facts["findings"]]
    return "\n".join(lines)


def model_facts(predictor: Predictor) -> dict[str, Any]:
    """What a bundle predicts, what from, with which tensors, and how well."""
    members = [_member_facts(member) for member in predictor.members]
    total = sum(tensor["count"] for member in members for tensor in member["tensors"])
    return plain(
        {
            "target": predictor.target,
            "task": predictor.task.as_dict(),
            "columns": [{"name": column.name, "type": column.type} for column in predictor.schema.features],
            "members": members,
            "num_values": total,
            "size_class": size_class(total),
            "threshold": predictor.threshold,
            "calibration": None if predictor.calibrator is None else predictor.calibrator.method,
            "keeps_rows": predictor.keeps_rows,
            "card": predictor.card,
        }
    )


def model_text(facts: dict[str, Any]) -> str:
    """The facts of a bundle for a terminal."""
    task = facts["task"]
    lines = [
        f"predicts {facts['target']} ({task['kind']}"
        + (f": {', '.join(map(str, task['labels']))})" if task["labels"] else ")")
    ]
    lines.append("from " + ", ".join(f"{column['name']} ({column['type']})" for column in facts["columns"]))
    for member in facts["members"]:
        lines.append(f"{member['name']}: {member['part']}, weight {member['weight']:.2f}")
        for name in ("depth", "widths"):
            if name in member:
                lines.append(f"  {name}: {member[name]}")
        lines += [
            f"  {t['name']:<32} {t['dtype']:<8} {'x'.join(map(str, t['shape'])) or 'one':<14} {t['count']:,}"
            for t in member["tensors"]
        ]
    lines.append(f"{facts['num_values']:,} stored values ({facts['size_class']})")
    test = facts["card"].get("metrics", {}).get("test", {})
    if test:
        lines.append(
            "test: " + ", ".join(f"{name} {show(value)}" for name, value in test.items() if value is not None)
        )
    if facts["keeps_rows"]:
        lines.append("This bundle stores rows of its training data.")
    return "\n".join(lines)


def module_facts(folder: RunFolder) -> dict[str, Any]:
    """What a run of a torch module did, and the tensors that it left."""
    from safetensors import safe_open

    record = folder.read_record()
    path = folder.path / "model.safetensors"
    if not path.is_file():
        raise UserError(f"The run {folder.path} has no {path.name} any more.")
    with safe_open(str(path), framework="numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        tensors = [
            {
                "name": name,
                "shape": (shape := held.get_shape()),
                "dtype": held.get_dtype(),
                "count": math.prod(shape),
            }
            for name, held in slices.items()
        ]
    return {
        "folder": str(folder.path),
        "weights": str(path),
        "tensors": tensors,
        "num_values": sum(tensor["count"] for tensor in tensors),
        **record,
    }


def module_text(facts: dict[str, Any]) -> str:
    """The facts of a module's run for a terminal."""
    pace, outcome, history = facts["pace"], facts["outcome"], facts["history"]
    name, scores = history["metric"], history["validation"]
    lines = [
        f"{facts['model']['class']}: {facts['model']['num_parameters']:,} parameters, {pace['epochs']:,} epochs, "
        f"{pace['steps']:,} steps; {outcome['reason']}"
    ]
    if scores:
        kept = [
            score
            for epoch, score in zip(history["epochs"], scores, strict=True)
            if epoch == outcome["length"]
        ]
        lines.append(
            f"validation {name} {show(scores[0])} at first, {show(kept[-1] if kept else scores[-1])} as kept, "
            f"after {outcome['length']:,} epochs"
        )
    lines += [f"{finding['severity']}: {finding['message']}" for finding in facts["findings"]]
    lines += [
        f"  {t['name']:<32} {t['dtype']:<8} {'x'.join(map(str, t['shape'])) or 'one':<14} {t['count']:,}"
        for t in facts["tensors"]
    ]
    lines.append(f"{facts['num_values']:,} stored values ({size_class(facts['num_values'])})")
    return "\n".join([*lines, f"weights  {facts['weights']}", f"{facts['run']['seconds']:.1f} s"])


def size_class(count: int) -> str:
    """The power of a thousand that a number of parameters falls into."""
    names = ("below a thousand", "thousands", "millions", "billions", "trillions")
    return names[min(int(math.log10(max(count, 1)) // 3), len(names) - 1)]


def _member_facts(member: Member) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": member.name,
        "part": member.part,
        "weight": member.weight,
        "settings": member.settings,
    }
    facts["tensors"] = [
        {"name": name, "shape": list(array.shape), "dtype": str(array.dtype), "count": int(array.size)}
        for name, array in _arrays(member.model.state(), "")  # type: ignore[attr-defined]
    ]
    widths = getattr(member.model, "widths", None)
    if widths is not None:  # a network: hidden layers are its depth
        facts |= {"widths": list(widths), "depth": len(widths) - 2}
    return facts


def _arrays(state: Any, prefix: str) -> list[tuple[str, np.ndarray]]:
    found: list[tuple[str, np.ndarray]] = []
    for name, value in state.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, dict):
            found += _arrays(value, path)
        elif isinstance(value, np.ndarray):
            found.append((path, value))
    return found
