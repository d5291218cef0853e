"""The command: one file a verb; this one reads the verb and turns errors into one clear paragraph."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from danlu.core.errors import DanluError, Interrupted, closest

STARTED = time.monotonic()
"""When the command began: the budget counts from here."""

VERBS = {
    "train": "learn from a table: train, choose, evaluate, explain, and write a report and a model",
    "predict": "answer for new rows with a trained model",
    "evaluate": "score a trained model on rows whose answer is known",
    "inspect": "show what a data file or a model holds",
    "runs": "list, show, compare and delete runs",
    "models": "the catalogue of models, what each is for, and its settings",
    "activations": "activations and normalisations: curves, derivatives, and where each belongs",
    "report": "write a run's report again and say where it is",
    "demo": "the main job on built-in data, in a few seconds",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one paragraph that says what to do."""

    def parse_args(  # pyright: ignore[reportIncompatibleMethodOverride]  (typed by overloads there)
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        """As argparse does it, but an unknown option is answered with the closest one that there is."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].partition("=")[0]
            known = re.findall(r"(?<![\w-])--[a-z][\w-]*", self.format_usage())
            if name.startswith("-"):
                self.error(f"There is no option {name!r}.{closest(name, known)}")
            self.error(f"{name!r} is one word too many")
        return options

    def error(self, message: str) -> NoReturn:
        """Print the mistake and where help is, and exit with status 2."""
        end = "" if message.endswith((".", "?")) else "."
        complain(f"{message[:1].upper()}{message[1:]}{end} See: {self.prog} --help")
        raise SystemExit(2)


def one_of(*choices: str) -> Callable[[str], str]:
    """A type of option that is one of a few words; another word fails and names the closest."""

    def check(word: str) -> str:
        if word not in choices:
            raise argparse.ArgumentTypeError(
                f"{word!r} is none of {', '.join(choices)}.{closest(word, choices)}"
            )
        return word

    return check


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when all went well, 2 for a mistake of the person, 130 when interrupted.

    The budget counts from the start of the process; where a program calls this function, from the call.
    """
    started = STARTED if arguments is None else time.monotonic()
    try:
        return _answer(list(sys.argv[1:] if arguments is None else arguments), started)
    except KeyboardInterrupt:
        complain("Interrupted.")
        return 130
    except Interrupted as error:
        complain(str(error))
        return 130
    except DanluError as error:
        complain(str(error))
        return 2
    except BrokenPipeError:  # the reader of a pipe has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _answer(given: list[str], started: float) -> int:
    """Do what the words ask for."""
    if not given or given[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    verb = given[0]
    if verb in ("-V", "--version"):
        from danlu import __version__

        print(f"danlu {__version__}")
        return 0
    if verb not in VERBS:
        complain(
            f"There is no verb {verb!r}.{closest(verb, VERBS)} Known: {', '.join(VERBS)}. See: danlu --help"
        )
        return 2
    module = importlib.import_module(f"danlu.cli.{verb}")
    parser = Parser(
        prog=f"danlu {verb}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    options = parser.parse_args(given[1:])
    options.started = started
    return module.run(options)


def complain(text: str) -> None:
    """One paragraph on the error stream."""
    width = min(max(_width() - 2, 40), 110)
    paragraphs = [
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    ]
    print("danlu: " + "\n".join(paragraphs), file=sys.stderr, flush=True)


def overview() -> str:
    """What `danlu --help` prints."""
    lines = "\n".join(f"  {name:<13}{summary}" for name, summary in VERBS.items())
    return (
        "danlu (丹炉): from data to a model that can be trusted.\n\n"
        "  danlu train houses.csv --target price      train, evaluate and explain a model\n"
        "  danlu predict runs/NAME/model.danlu new.csv  use it\n\n"
        f"Verbs:\n{lines}\n\n"
        "Help on one: danlu VERB --help. Exit status: 0 well, 2 a mistake in what was asked, 130 interrupted."
    )


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 100
