"""The documentation holds: its commands and code run, its links lead somewhere, both languages agree."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
RUNNABLE = (
    "README.md",
    "docs/guide.md",
    "docs/bundle.md",
    "docs/training.md",
    "docs/activations.md",
    "docs/streaming.md",
)
TRANSLATED = {
    "README.md": "docs/zh/README.md",
    "docs/guide.md": "docs/zh/guide.md",
    "docs/training.md": "docs/zh/training.md",
    "docs/activations.md": "docs/zh/activations.md",
}
BUDGET = "4s"  # in place of the budgets that the pages name


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [Block(each[1], each[2], text[: each.start()].count("\n") + 1) for each in found]


# ---------------------------------------------------------------- what the pages run


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_block_runs(name: str, runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, space = REPOSITORY / name, dict[str, Any]()
    if name == "docs/bundle.md":
        _make_houses(runs_dir)
    for block in blocks(page):
        where = f"{name}:{block.line}"
        if block.language == "python":
            exec(compile(_cheaper(block.text), where, "exec"), space)
        elif block.language == "yaml":
            file = re.match(r"# (\S+\.yaml)\n", block.text)
            assert file, f"{where}: a YAML block starts with the name of its file, '# name.yaml'"
            Path(file[1]).write_text(_cheaper(block.text), encoding="utf-8")
        elif block.language == "console":
            for command, expected in _commands(block.text):
                capsys.readouterr()
                _run(command, expected, capsys, where=where)


def _commands(text: str) -> list[tuple[str, list[str]]]:
    """(command, the lines below it) for each `$ ` line."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def _run(command: str, expected: list[str], capsys: pytest.CaptureFixture[str], *, where: str) -> None:
    """Run one command in this process and compare what it prints, numbers and names of models aside."""
    from danlu.cli import main

    words = shlex.split(_cheaper(command))
    assert words[0] == "danlu", f"{where}: {command}"
    is_mistake = expected[:1] != [] and expected[0].startswith("danlu: ")
    status = main(words[1:])
    printed = capsys.readouterr()
    assert status == (2 if is_mistake else 0), f"{where}: {command}\n{printed.err}"
    if is_mistake:
        said = re.sub(r"\s+", " ", printed.err).strip()
        for part in " ".join(expected).split(" ..."):
            assert part.strip() in said, f"{where}: {command}\n{printed.err}"
        return
    actual = iter([_shape(line) for line in (printed.out + printed.err).splitlines()])
    for line in expected:
        assert line == "..." or _shape(line) in actual, (
            f"{where}: {line!r} does not follow in:\n{printed.out}"
        )


def _cheaper(text: str) -> str:
    """The same with a small budget: what is tested is that it runs, not how good it gets."""
    text = re.sub(r"(--budget |budget: |budget=\")\d+s", rf"\g<1>{BUDGET}", text)
    chosen = any(option in text for option in ("--budget", "--recipe", "--resume"))
    plain = text.startswith("danlu train") and not chosen
    return f"{text} --budget {BUDGET}" if plain else text


def _shape(line: str) -> str:
    """A line without what differs from run to run: numbers, intervals, names of models, widths."""
    from danlu.recipe.catalogue import entries

    names = "|".join(sorted(entries("model"), key=len, reverse=True))
    line = re.sub(rf"\b(?:{names})(?:_[a-z]+)?(?: \+ (?:{names})(?:_[a-z]+)?)*\b", "MODEL", line)
    line = re.sub(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", "0", line)
    line = re.sub(r"0 to 0|(?<=\s)-(?=\s|$)", "0", line)
    return re.sub(r"\s+", " ", line).strip()


def _make_houses(runs_dir: Path) -> None:
    """The run and the rows that docs/bundle.md takes as given."""
    import polars as pl

    import danlu

    danlu.train("danlu/houses", target="price", model="ridge", out=runs_dir / "houses")
    pl.DataFrame({"area": [2000, 1500], "bedrooms": [3, 2]}).write_csv("new_houses.csv")


def test_shapes_hide_numbers_and_models_only() -> None:
    assert _shape("price: ridge + svm, tested on 60 rows") == _shape(
        "price: boosting_shallow, tested on 7 rows"
    )
    assert _shape("  r2   0.94   0.9 to 0.96  -6.6e-06") == _shape("  r2  -1.2   -  0.1")
    assert _shape("report   a/report.html") != _shape("model    a/model.danlu")
    assert _shape("price: ridge") != _shape("cost: ridge")


# ---------------------------------------------------------------- set-up


def test_readme_opens_with_the_two_set_up_commands() -> None:
    first = blocks(REPOSITORY / "README.md")[0]
    commands = [line.partition("#")[0].strip() for line in first.text.splitlines()]
    assert commands == ["make demo", "make test"]
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"demo", "test", "setup"} <= set(targets)
    assert "make test" in (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_readme_names_every_model() -> None:
    from danlu.recipe.catalogue import entries

    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    own = {name for name, entry in entries("model").items() if entry.target.startswith("danlu.")}
    listed = text.partition("## Models")[2].partition("## Not yet")[0]
    assert set(re.findall(r"`([a-z_]+)`", listed)) >= own


def test_the_picture_is_there_and_small() -> None:
    picture = REPOSITORY / "docs" / "images" / "report.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 250_000


def test_the_guide_names_the_parts_of_the_report() -> None:
    code = "".join(
        file.read_text(encoding="utf-8") for file in (REPOSITORY / "src/danlu/report").glob("*.py")
    )
    for name in ("docs/guide.md", "docs/zh/guide.md"):
        rows = re.findall(
            r"^\| ([A-Z][^|`]+) \| \S", (REPOSITORY / name).read_text(encoding="utf-8"), re.MULTILINE
        )
        titles = [title for row in rows for title in row.split(", ")]
        assert len(titles) == 14
        assert [title for title in titles if f'say("{title}")' not in code] == []


# ---------------------------------------------------------------- links and languages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue  # elsewhere on the web
        file, _, anchor = target.partition("#")
        aim = (page.parent / file).resolve() if file else page
        assert aim.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in _anchors(aim), f"{page.name}: {target}"


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("english", "chinese"), TRANSLATED.items())
def test_both_languages_show_the_same_code(english: str, chinese: str) -> None:
    ours, theirs = blocks(REPOSITORY / english), blocks(REPOSITORY / chinese)
    assert [block.language for block in ours] == [block.language for block in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert _without_remarks(one) == _without_remarks(other)


@pytest.mark.parametrize(("english", "chinese"), TRANSLATED.items())
def test_both_languages_have_the_same_parts(english: str, chinese: str) -> None:
    levels: list[list[str]] = []
    for name in (english, chinese):
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        levels.append(re.findall(r"^(#+) ", prose, flags=re.MULTILINE))
    assert levels[0] == levels[1]


def _without_remarks(block: Block) -> str:
    return re.sub(r" +# .*", "", block.text)
