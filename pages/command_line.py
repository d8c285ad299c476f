"""The command line as it explains itself: what `polyak COMMAND --help` prints."""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from unittest import mock

from polyak import cli

EXAMPLE = "train ppo CartPole-v1"


def pages() -> Iterator[tuple[str, str]]:
    """The one page of all commands."""
    text = ["# Command line", f"```text\n{printed([])}\n```"]
    for command in cli.COMMANDS:
        text += [f"## polyak {command}", f"```text\n{printed([command, '--help'])}\n```"]
        if command == "train":
            text.append(
                "Below are the options of every algorithm and the settings of PPO, with the values tuned on "
                "CartPole-v1 as defaults. Those of the others stand on [their pages](../algorithms/index.md)."
            )
            text.append(f"```text\n{printed([*EXAMPLE.split(), '--help'])}\n```")
    yield "reference/command-line.md", "\n\n".join(text) + "\n"


def printed(args: list[str]) -> str:
    """What a command prints to a terminal of 90 columns that knows no colours."""
    said = io.StringIO()
    plain = {"COLUMNS": "90", "NO_COLOR": "1", "TERM": "dumb"}
    with mock.patch.dict(os.environ, plain), contextlib.redirect_stdout(said):
        status = cli.main(args)
    assert status == 0, args
    text = re.sub(r"\x1b\[[\d;]*m", "", said.getvalue())
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()
