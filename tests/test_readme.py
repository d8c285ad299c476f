"""Every command and every block of code in the README runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
PYTHON = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines() if line]


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
