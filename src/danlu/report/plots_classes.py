"""The plots that belong to predicted classes: confusion, ROC, precision and recall, calibration."""

from __future__ import annotations

from typing import Any

from danlu.report import metric_names as metrics
from danlu.report.charts import Series, calibration_chart, legend, line_chart
from danlu.report.components import Cell, figure, folded, grid, numeric, table
from danlu.report.maps import MOST_NAMED, confusion_map
from danlu.report.markup import Html, tag
from danlu.report.text import (
    MISSING,
    count,
    entries,
    finite,
    fixed,
    label,
    percent,
    pick,
    say,
)

CURVES_COLOURED = 6
CLASSES_SHOWN = 15


def class_plots(record: dict[str, Any]) -> Html | None:
    """Confusion matrix, ROC, precision and recall, and calibration."""
    evaluation = record.get("evaluation") or {}
    return grid(
        _confusion(evaluation),
        _roc(evaluation, record),
        _pr(evaluation, record),
        _calibration(evaluation, record),
    )


def _confusion(evaluation: dict[str, Any]) -> Html | None:
    labels, matrix = (pick(evaluation, "confusion", key) or [] for key in ("labels", "matrix"))
    matrix = [row for row in matrix if isinstance(row, list)]
    if not labels or len(matrix) != len(labels):
        return None
    chart = confusion_map(
        say("Confusion matrix"), say("{number} classes", number=len(labels)), labels, matrix
    )
    return figure(
        say("What is taken for what (confusion matrix)"),
        chart,
        read=say(
            "A row for each observed class, a column for each predicted one. Blue is right, orange a mix-up; "
            "percentages are shares of the row."
        )
        + (say(" Point at a cell to see its classes.") if len(labels) > MOST_NAMED else ""),
    )


def _roc(evaluation: dict[str, Any], record: dict[str, Any]) -> Html | None:
    curves = [one for one in entries(evaluation, "roc") if one.get("fpr") and one.get("tpr")]
    if not curves:
        return None
    classes = _colours(len(curves))
    series = [
        Series(label(one.get("label")), one["fpr"], one["tpr"], class_)
        for one, class_ in zip(curves, classes, strict=True)
    ]
    chart = line_chart(
        say("ROC curve"),
        "; ".join(_area(one, "auc", "AUC") for one in curves[:12]),
        series,
        unit=True,
        x_label=say("share of the other rows called positive by mistake"),
        y_label=say("share of the positive rows found"),
        guides=[((0, 0), (1, 1))],
        show=percent,
    )
    return figure(
        say("Telling the classes apart (ROC)"),
        chart,
        key=_key(curves, classes, "auc", "AUC"),
        read=say(
            "Each point is a threshold. The nearer to the top left corner, the better; dashed is guessing."
        ),
        note=_which(curves, record),
    )


def _pr(evaluation: dict[str, Any], record: dict[str, Any]) -> Html | None:
    curves = [one for one in entries(evaluation, "pr") if one.get("recall") and one.get("precision")]
    if not curves:
        return None
    classes = _colours(len(curves))
    series = [
        Series(label(one.get("label")), one["recall"], one["precision"], class_, is_step=True)
        for one, class_ in zip(curves, classes, strict=True)
    ]
    shares = finite([one.get("share") for one in curves])
    guides = [((0, shares[0]), (1, shares[0]))] if len(curves) == 1 and shares else []
    chart = line_chart(
        say("Precision and recall"),
        "; ".join(_area(one, "average_precision", "PR AUC") for one in curves[:12]),
        series,
        unit=True,
        x_label=say("recall: share of the positive rows found"),
        y_label=say("precision: share of alarms that are right"),
        guides=guides,
        show=percent,
    )
    told = say(" The dashed line is guessing ({share}).", share=percent(shares[0])) if guides else ""
    return figure(
        say("Finding the positives (precision and recall)"),
        chart,
        key=_key(curves, classes, "average_precision", "PR AUC"),
        read=say("How many alarms are false when more of the positives are to be found.") + told,
        note=_which(curves, record),
    )


def _calibration(evaluation: dict[str, Any], record: dict[str, Any]) -> Html | None:
    curves = [one for one in entries(evaluation, "calibration") if finite(one.get("predicted"))]
    if not curves:
        return None
    shown = curves[:CURVES_COLOURED]
    classes = _colours(len(shown))
    told = metrics.readable(pick(record, "calibration", "sentence") or "")
    chart = calibration_chart(say("Calibration"), told, shown, classes)
    left_out = (
        say(" {shown} of {all} classes are drawn.", shown=len(shown), all=len(curves))
        if len(curves) > len(shown)
        else ""
    )
    note = f"{told}{left_out}".strip() or _which(shown, record)
    return figure(
        say("Can the probabilities be believed? (calibration)"),
        chart,
        key=legend([(class_, label(one.get("label"))) for one, class_ in zip(shown, classes, strict=True)]),
        read=say(
            "Of the rows given 70 %, do 70 % come true? On the dashed line they do. Bars: 95 % intervals."
        ),
        note=note,
    )


def per_class(record: dict[str, Any]) -> Html | None:
    """Precision, recall and the usual mix-up of each class, counted from the confusion matrix."""
    labels, matrix = (pick(record, "evaluation", "confusion", key) or [] for key in ("labels", "matrix"))
    size = len(labels)
    if size < 2 or len(matrix) != size or any(len(finite(row)) != size for row in matrix):
        return None
    rows: list[list[Cell]] = []
    for code, name in enumerate(labels):
        observed, predicted, right = sum(matrix[code]), sum(row[code] for row in matrix), matrix[code][code]
        recall = right / observed if observed else None
        precision = right / predicted if predicted else None
        f1 = 2 * right / (observed + predicted) if observed + predicted else None
        wrong = [
            (amount, labels[other]) for other, amount in enumerate(matrix[code]) if other != code and amount
        ]
        worst = max(wrong, key=lambda pair: pair[0], default=None)
        mixed = (
            say("{label} ({rows})", label=label(worst[1]), rows=count(worst[0], "row", "rows"))
            if worst
            else MISSING
        )
        rows.append(
            [
                Cell(label(name), label(name)),
                numeric(observed),
                numeric(recall, percent(recall)),
                numeric(precision, percent(precision)),
                numeric(f1, fixed(f1, 3)),
                Cell(mixed),
            ]
        )
    headers = [
        say("Class"),
        say("Rows"),
        say("Found (recall)"),
        say("Right when named (precision)"),
        say("F1"),
        say("Most often taken for"),
    ]
    drawn = table(
        headers,
        rows,
        sortable=True,
        visible=CLASSES_SHOWN,
        caption=say("Scores of each class"),
        noun=("class", "classes"),
    )
    return (
        Html(tag("h3", say("Class by class")) + drawn) if size > 2 else folded(say("Class by class"), drawn)
    )


def _colours(amount: int) -> list[str]:
    return [f"c{index}" if index < CURVES_COLOURED else "grey thin" for index in range(amount)]


def _area(one: dict[str, Any], key: str, name: str) -> str:
    return f"{label(one.get('label'))}: {name} {fixed(one.get(key), 3)}"


def _key(curves: list[dict[str, Any]], classes: list[str], area: str, name: str) -> Html | None:
    named = [(class_, _area(one, area, name)) for one, class_ in zip(curves, classes, strict=True)][
        :CURVES_COLOURED
    ]
    if len(curves) > CURVES_COLOURED:
        named.append(("grey", say("{number} other classes", number=len(curves) - CURVES_COLOURED)))
    if len(named) == 1:
        return tag(
            "p", say("{name} = {value}", name=name, value=fixed(curves[0].get(area), 3)), class_="single-key"
        )
    return legend(named)


def _which(curves: list[dict[str, Any]], record: dict[str, Any]) -> str | None:
    if len(curves) != 1 or curves[0].get("label") is None:
        return None
    return say("Positive class: {label}.", label=repr(label(curves[0]["label"])))
