"""The page of metrics: an entry for everything that is measured, and none for what is not."""

import dataclasses
import inspect
import re
import sqlite3
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import polyak
from polyak import divergence, worker
from polyak.algorithms import ALGORITHMS
from tests import small
from tests.cluster.engines import cluster
from tests.test_every_algorithm import made

PAGE = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text()
ENTRIES = {name: text for name, text in re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S)}
PARTS = ["Unit and range", "Says", "Normal", "If not"]
CASES = (*ALGORITHMS, *small.VARIANTS)


@cache
def measured(case: str) -> frozenset[str]:
    """The names of what an engine tells of a chunk in which an algorithm learns."""
    engine = made(case).compiled()
    loop = jax.eval_shape(engine._start, jnp.uint32(0))
    _, metrics = jax.eval_shape(partial(engine._chunk, learn=True), loop, jnp.int32(1))
    return frozenset(metrics)


@cache
def measured_besides(folder: Path) -> frozenset[str]:
    """The names that training itself adds to those of the engine, from a whole run."""
    settings = {"steps": 200, "eval_every": 100, "eval_episodes": 1, "final_episodes": 1}
    run = polyak.train("q-learning", "FrozenLake-v1", processes=0, progress=False, out=folder, **settings)
    with sqlite3.connect(run.path / "metrics.sqlite") as database:
        found = {name for (name,) in database.execute("SELECT DISTINCT name FROM metrics")}
    database.close()
    return frozenset(found) - measured("q-learning")


@cache
def measured_by_actors() -> frozenset[str]:
    """The names that a cluster adds."""
    engine = cluster(polyak.IMPALA(n_steps=2), "CartPole-v1", 1, 2)
    _, metrics = engine.advance(engine.init(0), 1, True)
    return frozenset(metrics) - measured("impala")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.mark.parametrize("case", CASES)
def test_what_an_algorithm_measures_has_an_entry(case):
    assert measured(case) - ENTRIES.keys() == set()


def test_what_training_measures_has_an_entry(folder):
    assert measured_besides(folder) == {"evaluation_return", "final_return"}
    assert measured_besides(folder) <= ENTRIES.keys()


def test_what_actors_add_has_an_entry():
    assert measured_by_actors() == {"staleness", "staleness_max", "actors", "actors_busy", "learner_waits"}
    assert measured_by_actors() <= ENTRIES.keys()


def test_every_entry_is_of_something_that_is_measured(folder):  # the last to use them, so that they are known by now
    found = measured_besides(folder).union(measured_by_actors(), *map(measured, CASES))
    assert ENTRIES.keys() <= found


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_tells_the_unit_what_is_normal_and_what_to_do(name):
    assert re.findall(r"^- \*\*(.+?):\*\* \S", ENTRIES[name], re.M) == PARTS
    assert PAGE.count(f"### `{name}`\n") == 1


def test_settings_that_the_page_names_exist():
    hyperparameters = {field.name for kind in ALGORITHMS.values() for field in dataclasses.fields(kind)}
    arguments = set(inspect.signature(polyak.train).parameters)
    names = {*re.findall(r"`(\w+)`", PAGE)} - ENTRIES.keys()
    assert names - hyperparameters <= arguments
    options = {option.replace("-", "_") for option in re.findall(r"--([\w-]+)", PAGE)}
    assert options <= hyperparameters | arguments | {"metric", "wide", "seeds"}  # of `plot`, `export` and `train`


LONG, SHORT = f"{divergence.LONG} looks", f"{divergence.LOOKS} looks"
BEYOND = f"{divergence.BEYOND:g} times"


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("q_mean", [BEYOND, SHORT]),
        ("q_max", [BEYOND, SHORT]),
        ("td_error", [BEYOND, SHORT]),
        ("value_loss", [BEYOND, SHORT]),
        ("largest_parameter", [BEYOND, SHORT]),
        ("entropy", [f"{100 * divergence.CERTAIN:g} %", SHORT]),
        ("kl", [f"{divergence.FAR:g} nats", SHORT]),
        ("explained_variance", ["below zero", LONG]),
        ("action_saturation", [f"{divergence.SATURATED:g}", LONG]),
    ],
)
def test_the_figures_of_a_notice_are_those_by_which_it_is_given(name, figures):
    (sentence,) = re.findall(r"A notice comes[^.]*(?:\.\d[^.]*)*\.", ENTRIES[name])
    assert [figure for figure in figures if figure not in sentence] == []


def test_every_metric_that_is_watched_says_so():
    watched = {*divergence.SIZES, divergence.LARGEST, "entropy", "kl", "explained_variance", "action_saturation"}
    assert {name for name, text in ENTRIES.items() if "A notice comes" in text} == watched


def test_the_page_knows_when_returns_are_better():
    assert f"by {100 * divergence.BETTER:g} %, and by {divergence.SCATTER:g} times" in PAGE


def test_the_page_knows_how_often_polyak_looks():
    assert f"at least {worker.CHUNKS} times" in PAGE and f"at most {worker.CHUNK_STEPS:,} environment steps" in PAGE
