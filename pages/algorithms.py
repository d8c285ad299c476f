"""A page an algorithm, a page for planning, and the overview of all."""

import ast
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from benchmarks import evidence, family, published
from benchmarks.tables import ROOT, table
from pages import curves, public
from pages.settings import settings_table, shown
from pages.text import cell, parts, prose
from polyak.agent import Algorithm
from polyak.algorithms import ALGORITHMS
from polyak.presets import Preset, presets
from polyak.runs.store import slug

FAMILIES = {  # the folders of `polyak.algorithms`, in the order of a textbook
    "planning": "Planning",
    "bandits": "Bandits",
    "tabular": "Tables",
    "linear": "Linear values",
    "value": "Values of a network",
    "policy": "Policies",
    "continuous": "Actors and critics with a replay memory",
    "search": "Searches without gradients",
}


FIRST = (
    "CartPole-v1",
    "Pendulum-v1",
    "FrozenLake-v1",
)  # where a page shows how an algorithm is run, if it is tuned there

PROOF = {  # what is said of a table of evidence, by what is measured
    "iqm": "The final greedy policies of presets, on seeds that they were not tuned on: see "
    "[how scores are taken](../benchmarks/scores.md).",
    "rms_error": "The final values of presets beside the exact ones, on seeds that they were not tuned on: see "
    "[how errors are taken](../benchmarks/scores.md#predictions).",
    "regret": "The regret of presets, on problems that they were not tuned on: see [how it is taken]"
    "(../benchmarks/scores.md#bandits).",
}


def family_of(kind: type[Algorithm]) -> str:
    """The folder that its file lies in."""
    return kind.__module__.split(".")[-2]


@cache
def _presets() -> list[Preset]:
    return presets()


def tuned(name: str) -> list[Preset]:
    """The presets of an algorithm."""
    return [preset for preset in _presets() if preset.algorithm == name]


def by_family() -> dict[str, list[str]]:
    """The names of all algorithms under the heading of their family."""
    found: dict[str, list[str]] = {folder: [] for folder in FAMILIES if folder != "planning"}
    for name, kind in ALGORITHMS.items():
        found.setdefault(family_of(kind), []).append(name)
    return {FAMILIES.get(folder, folder.title()): names for folder, names in found.items() if names}


def pages(metrics: Callable[[str], list[str]], takes: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Path and text of each page.

    Args:
        metrics: the metrics of an algorithm, by its name.
        takes: in words what an algorithm can learn from.
    """
    yield "algorithms/index.md", overview()
    yield "algorithms/planning.md", planning()
    for name, kind in ALGORITHMS.items():
        yield f"algorithms/{name}.md", page(name, kind, metrics(name), takes(name))


def overview() -> str:
    """All algorithms by family, with what each is in a sentence."""
    text = [
        "# Algorithms",
        "Each algorithm is one file, which reads from top to bottom like its paper. Its page has the source, the "
        "update, what deviates from the paper, every setting, what it measures, and what it reaches.",
        "`polyak list algorithms` prints this list; `polyak train NAME ENV` trains one.",
        "## Planning",
        "Planners are functions on an [`MDP`](../reference/environments.md#polyak.MDP), a world whose table is known: "
        "see [planning](planning.md).",
    ]
    for heading, names in by_family().items():
        rows = []
        for name in names:
            kind = ALGORITHMS[name]
            known = [one.env for score in evidence.HEADS for one in evidence.measured(score, name)]
            rows.append((f"[`{name}`]({name}.md)", cell(first_line(kind)), ", ".join(known)))
        text += [f"## {heading}", table(("name", "what it is", "tuned and measured on"), rows)]
    return "\n\n".join(text) + "\n"


def page(name: str, kind: type[Algorithm], metrics: list[str], takes: str) -> str:
    """All about one algorithm."""
    module = sys.modules[kind.__module__]
    about, deviations = parts(inspect.getdoc(module) or "")
    text = [
        f"# {kind.__name__}",
        prose(first_line(kind)),
        f"On the command line it is `{name}`, in Python [`polyak.{kind.__name__}`]"
        f"(../reference/{public.page_of(kind.__name__)}#polyak.{kind.__name__}).",
        f"It learns from: {takes}." if takes else "",
        "## Source and update",
        about,
        *(["## Deviations from the source", deviations] if deviations else []),
        "## Run it",
        commands(name),
        "## Settings",
        f"On the command line `learning_rate` is `--learning-rate`; `polyak train {name} --help` lists them too.",
        settings_table(kind, tuned(name)),
        "## Metrics",
        "What a run measures; each name leads to what is normal and what to do if it is not: "
        + ", ".join(f"[`{metric}`](../metrics.md#{metric})" for metric in metrics)
        + ". Some settings add others.",
        "## Evidence",
        *proof(name),
        "## The file",
        source(Path(inspect.getsourcefile(module) or "")),
    ]
    return "\n\n".join(filter(None, text)) + "\n"


def first_line(kind: type) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(kind) or "").splitlines()[0]


def commands(name: str) -> str:
    """How it is run, from the command line and in Python: where it is tuned if it is, else where it is at home."""
    known = sorted(tuned(name), key=lambda preset: preset.env not in FIRST)
    env, extra = (known[0].env, "") if known else (at_home(name), " --steps 100000")
    python = f'run = polyak.train("{name}", "{env}"' + (", steps=100_000" if extra else "") + ")"
    sentence = "The tuned settings are used by themselves" if known else "There are no tuned settings yet: say how long"
    settings = known[0].settings if known else {}
    values = [(setting, value) for setting, value in settings.items() if value not in (True, False)]
    for setting, value in values[:1]:
        sentence += f"; `--{setting.replace('_', '-')} {shown(value)}` is one of them"
    regret = f"\npolyak regret {name} {env}" if env.startswith("bandit/") else ""
    return (
        f"```bash\npolyak train {name} {env}{extra}{regret}\n```\n\n"
        f"```python\nimport polyak\n\n{python}\nprint(run.summary())\n```\n\n{sentence}."
    )


def at_home(name: str) -> str:
    """An environment for an algorithm without a preset."""
    from tests import small

    return small.world_of(small.algorithm(name))


def proof(name: str) -> Iterator[str]:
    """What its presets reach, with curves, what others published, and what its parts reach."""
    known = {score: evidence.measured(score, name) for score in evidence.HEADS}
    if not any(known.values()):
        yield evidence.WITHOUT.get(name, "No tuned settings of this algorithm are measured yet.")
        return
    for score, found in known.items():
        if found:
            yield f"{PROOF[score]} `python -m benchmarks.evidence {name}` measures them again."
            yield table(evidence.HEADS[score], map(evidence.row, found))
        for preset in found:
            file = evidence.CURVES / f"{name}-{slug(preset.env)}.json"
            if file.exists():
                yield curves.curve(json.loads(file.read_text()))
    if beside := published.rows(known["iqm"]):
        yield "### Published elsewhere"
        yield f"{table(published.HEAD, beside)}\n\n{published.protocols(beside)}"
    parts_of = {row: found for row, found in family.results().items() if found["algorithm"] == name}
    if parts_of:
        yield "### With other parts"
        yield "Each is put on a preset, and all else left as it is (`python -m benchmarks.family`)."
        yield table(family.HEAD, family.rows(parts_of))


def source(file: Path) -> str:
    """A file of the repository, folded."""
    code = "\n".join(f"    {line}" if line else "" for line in file.read_text().splitlines())
    return f'??? abstract "`{file.relative_to(ROOT)}`"\n    ```python\n{code}\n    ```'


def planning() -> str:
    """The planners: one section a file."""
    text = [
        "# Planning",
        "Where the table of a world is known, values and policies are computed, not learnt. Planners are functions on "
        "an [`MDP`](../reference/environments.md#polyak.MDP) in double precision; most return values, action values, a "
        "greedy policy and a bound on the error.",
        "```python\nimport polyak\n\n"
        'mdp = polyak.MDP.from_gymnasium("FrozenLake-v1")\n'
        "solution = polyak.value_iteration(mdp, gamma=0.99)\n"
        "print(solution.policy.reshape(4, 4), solution.error_bound)\n```",
        "How they are used beside learners is told in [worlds that are known](../how-to/tables.md).",
    ]
    for file in sorted((ROOT / "src/polyak/algorithms/planning").glob("*.py")):
        tree = ast.parse(file.read_text())
        planners = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in public.names()]
        if planners:
            text += [f"## {file.stem.replace('_', ' ').capitalize()}", prose(ast.get_docstring(tree) or "")]
            rows = []
            for node in planners:
                link = f"[`{node.name}`](../reference/{public.page_of(node.name)}#polyak.{node.name})"
                rows.append((link, cell((ast.get_docstring(node) or "").partition("\n")[0])))
            text += [table(("function", "what it computes"), rows), source(file)]
    return "\n\n".join(text) + "\n"
