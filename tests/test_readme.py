"""Every command and every block of code in the README and in the guides runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str) -> list[str]:
    """The blocks of code of a page in a language; what is shown and not run is `text`."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [code for name, code in found if name == language]


def commands(page: str) -> list[str]:
    return [line for block in blocks(page, "bash") for line in block.splitlines() if line]


PYTHON, COMMANDS = blocks("README.md", "python"), commands("README.md")
GUIDES = [
    str(file.relative_to(ROOT)) for file in (ROOT / "docs/start.md", *sorted((ROOT / "docs/how-to").glob("*.md")))
]
# In one process, so that a block may use what those above it made; what the README has as well is run there.
TOGETHER = {page: "\n".join(code for code in blocks(page, "python") if code not in PYTHON) for page in GUIDES}
ONE_AFTER_THE_OTHER = {page: commands(page) for page in GUIDES}


def shell(command: str, folder: Path) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XLA_")}
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**environment, "PATH": path},  # compiled as for a stranger, but no program twice
        timeout=420,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


def test_the_readme_has_what_is_tested_here():
    assert len(PYTHON) >= 2 and len(COMMANDS) >= 3


def test_the_guides_have_what_is_tested_here():
    assert sum(map(bool, TOGETHER.values())) >= 8 and sum(map(bool, ONE_AFTER_THE_OTHER.values())) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python_block(code, tmp_path):
    (tmp_path / "block.py").write_text(code)
    result = shell(f"{sys.executable} block.py", tmp_path)
    assert result.stdout.strip()


@pytest.mark.slow
def test_commands_in_their_order(tmp_path):
    for command in COMMANDS:
        shell(command, ROOT if command.startswith("make ") else tmp_path)
    assert list((tmp_path / "runs").glob("*/episode.mp4"))
    assert list((ROOT / "runs" / "demo").glob("*/episode.*"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in GUIDES if TOGETHER[page]])
def test_python_blocks_of_a_guide_run_in_their_order(page, tmp_path):
    (tmp_path / "page.py").write_text(TOGETHER[page])
    assert shell(f"{sys.executable} page.py", tmp_path).stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in GUIDES if ONE_AFTER_THE_OTHER[page]])
def test_commands_of_a_guide_run_in_their_order(page, tmp_path):
    for command in ONE_AFTER_THE_OTHER[page]:
        shell(command, tmp_path)
