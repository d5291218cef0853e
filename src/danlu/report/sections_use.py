"""How to use the model, how to get the same one again, and what of the data these files carry."""

from __future__ import annotations

from typing import Any

from danlu.report.components import Section, badge, facts, flatten, folded, grid, panel, plain_value, section
from danlu.report.markup import Child, Html, join, rich, tag
from danlu.report.text import count, entries, is_number, label, moment, number, say
from danlu.report.text import seconds as time

FEATURES_SHOWN = 20


def use(record: dict[str, Any]) -> Section | None:
    """Commands and code that give predictions."""
    return section(
        "use",
        say("Use the model"),
        grid(
            panel(
                say("On the command line"),
                _code("danlu predict model.danlu new_rows.csv --out predictions.csv"),
                tag("p", say("Measure it on rows whose answer is known:")),
                _code("danlu evaluate model.danlu labelled_rows.csv"),
                tag("p", say("See what is inside:")),
                _code("danlu inspect model.danlu"),
            ),
            panel(
                say("In Python"),
                _code('import danlu\n\nmodel = danlu.load("model.danlu")\nanswers = model.predict(rows)'),
                _columns(record),
            ),
        ),
        lead=rich(
            "The file {file} lies beside this report. It takes rows as they come, unprepared.",
            file=tag("code", "model.danlu"),
        ),
    )


def reproduce(record: dict[str, Any]) -> Section | None:
    """What is needed to get the same model again."""
    run, described = record.get("run") or {}, record.get("data") or {}
    memory = run.get("peak_memory_bytes")
    chosen = next((one for one in entries(record, "candidates") if one.get("status") == "chosen"), {})
    about: list[tuple[str, Child]] = [
        (say("danlu"), run.get("version")),
        (say("Made"), moment(run["created"]) if run.get("created") else None),
        (say("Seed"), number(run["seed"]) if run.get("seed") is not None else None),
        (
            say("Memory"),
            say("{mib} MiB at most", mib=number(round(memory / 2**20))) if is_number(memory) else None,
        ),
        (say("Budget"), time(run["budget_seconds"]) if run.get("budget_seconds") is not None else None),
        (say("Data"), tag("code", described["source"]) if described.get("source") else None),
        (say("Fingerprint"), tag("code", described["fingerprint"]) if described.get("fingerprint") else None),
    ]
    environment = [(name, plain_value(value)) for name, value in flatten(run.get("environment") or {})]
    settings = [(name, plain_value(value)) for name, value in flatten(chosen.get("settings") or {})]
    recipe = [(name, plain_value(value)) for name, value in flatten(record.get("recipe") or {})]
    command = (
        [tag("p", say("This run was started with")), _code(run["command"])] if run.get("command") else []
    )
    again = [
        tag("p", say("The same recipe on the same data gives the same model:")),
        _code("danlu train --recipe recipe.yaml"),
    ]
    if not command and not any(value for _, value in about) and not environment:
        return None
    return section(
        "reproduce",
        say("Get the same again"),
        grid(
            panel(say("The run"), command, again, facts(about)),
            panel(
                say("Made with"),
                facts(environment),
                folded(say("Settings of the chosen model"), facts(settings)) if settings else None,
                folded(say("The whole recipe"), facts(recipe)) if recipe else None,
            )
            if environment or settings or recipe
            else None,
        ),
    )


def privacy(record: dict[str, Any]) -> Section | None:
    """Whether the report or the model file carries rows of the data."""
    told = record.get("privacy") or {}
    lines: list[Child] = []
    for key, name in (("bundle_has_rows", say("The model file")), ("report_has_rows", say("This report"))):
        if told.get(key) is not None:
            words = say("carries rows of the data") if told[key] else say("carries no rows of the data")
            lines.append(
                tag(
                    "p",
                    badge("!" if told[key] else "✓", "warning" if told[key] else "good"),
                    f" {name} {words}.",
                )
            )
    sentence = tag("p", told["sentence"]) if told.get("sentence") else None
    return section(
        "privacy",
        say("Before you pass it on"),
        tag("div", lines, sentence, class_="panel wide") if lines or sentence else None,
    )


def _columns(record: dict[str, Any]) -> Html | None:
    columns = [
        one for one in entries(record, "data", "columns") if (one.get("role") or "feature") == "feature"
    ]
    used = [one for one in columns if one.get("type") not in ("constant", "identifier")]
    target = record.get("target")
    gives = None
    if target:
        classes = [label(name) for name in record.get("labels") or []]
        more = (
            say(" and a probability for each of {classes}", classes=count(len(classes), "class", "classes"))
            if classes
            else ""
        )
        gives = rich("It gives {target}{more}.", target=tag("code", target), more=more)
    if not used:
        return tag("p", gives) if gives else None
    chips = [
        tag("span", one.get("name"), class_="chip", title=one.get("type")) for one in used[:FEATURES_SHOWN]
    ]
    rest = len(used) - len(chips)
    return join(
        [
            tag("p", say("It expects {columns}:", columns=count(len(used), "column", "columns"))),
            tag("p", join(chips, " "), say(" and {rest} more", rest=number(rest)) if rest else None),
            tag("p", gives) if gives else None,
        ]
    )


def _code(text: Any) -> Html:
    return tag("pre", tag("code", text), tabindex=0)
