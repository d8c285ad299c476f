"""The public names: one list, `polyak/__init__.pyi`, from which all others follow."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import polyak
from polyak import envs
from polyak.algorithms import ALGORITHMS
from polyak.parts import exploration, features, networks, optimise, replay

SOURCE = Path(polyak.__file__).parent


@pytest.mark.parametrize("package", [polyak, envs])
def test_every_name_of_the_list_is_there(package):
    assert package.__all__ == sorted(package.__all__) == dir(package)
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_every_algorithm_is_listed_and_named_as_its_module_is():
    files = [path for path in (SOURCE / "algorithms").glob("*/*.py") if path.parent.name != "planning"]
    names = {path.stem.replace("_", "-") for path in files if path.stem != "__init__"}
    assert names == set(ALGORITHMS) == {kind.name for kind in ALGORITHMS.values()}
    assert all(getattr(polyak, kind.__name__) is kind for kind in ALGORITHMS.values())


def test_every_planner_is_listed():
    planners = {file.stem for file in (SOURCE / "algorithms" / "planning").glob("*.py")} - {"__init__", "solution"}
    assert planners <= set(polyak.__all__)


def test_every_part_that_a_setting_may_name_is_public():
    kinds = {*exploration.KINDS, *features.KINDS.values(), *optimise.OPTIMIZERS.values(), *networks.NETWORKS.values()}
    for kind in {*kinds, networks.Recurrent, replay.Uniform, replay.Prioritised}:
        assert getattr(polyak, kind.__name__) is kind


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Sarsa"):
        polyak.Sarsa  # noqa: B018
    with pytest.raises(KeyError):
        ALGORITHMS["sarsas"]


def test_importing_polyak_and_naming_its_algorithms_loads_no_jax():
    code = "import sys, polyak; dir(polyak); print('jax' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


TOY = '''
"""Q-learning under another name: what CONTRIBUTING asks for, and nothing else."""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Spec
from polyak.algorithms.tabular.q_learning import QLearning
from polyak.parts import hyper


@dataclasses.dataclass(frozen=True)
class Toy:
    """A toy: a table of action values."""

    name: ClassVar[str] = "toy"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    gamma: hyper.Gamma = 0.9

    def agent(self, spec: Spec) -> Agent:
        return QLearning(gamma=self.gamma).agent(spec)
'''


@pytest.mark.slow
def test_a_file_and_a_line_add_an_algorithm(tmp_path):
    """In a copy of the tree, from the command line, in Python, and for whoever checks types."""
    shutil.copytree(SOURCE, tmp_path / "polyak", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "polyak" / "algorithms" / "tabular" / "toy.py").write_text(TOY)
    with (tmp_path / "polyak" / "__init__.pyi").open("a") as file:
        file.write("from .algorithms.tabular.toy import Toy as Toy\n")

    def run(*command: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        ran = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return ran.stdout

    train = ["-m", "polyak.cli", "train", "toy", "FrozenLake-v1", "--steps", "200", "--gamma", "0.8", "--no-progress"]
    run(*train, "--processes", "0", "--out", "runs")
    code = """
        import pathlib, polyak
        run = polyak.Run(next(pathlib.Path("runs").iterdir()))
        assert run.policy().algorithm == polyak.Toy(gamma=0.8)
        print(run.about["algorithm"], "Toy" in polyak.__all__)
    """
    assert run("-c", textwrap.dedent(code)) == "toy True\n"
    assert "toy" in run("-m", "polyak.cli", "list", "algorithms")
