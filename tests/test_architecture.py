"""Who may import whom, and words that this code base does without."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "polyak"

# The most that each part may import of polyak, itself included where its files may know each other.
MAY_IMPORT = {
    "agent": set(),
    "errors": set(),
    "spaces": set(),
    "ops": {"agent", "ops"},
    "parts/networks": {"agent", "errors", "spaces", "parts.networks", "parts.ranges", "parts.text"},
    "parts": {"agent", "errors", "spaces", "ops", "parts"},
    "algorithms": {"agent", "errors", "spaces", "ops", "parts"},
    "algorithms/planning": {"errors", "envs.mdp", "algorithms.planning"},  # a model is all that it works on
    "lazy": set(),
    "envs": {"agent", "errors", "lazy", "spaces", "envs", "ops.tree_search"},  # by which an opponent moves
    "pictures": {
        "errors",
        "envs",
        "algorithms.planning.solution",
        "policy",
        "runs",
        "pictures",
        "agent",
        "parts.population",
    },
    "course": {"errors", "runs.files", "course"},  # chapters use polyak as its users do
    "callbacks": {"errors", "policy", "runs", "run", "callbacks"},
    "engines": {"agent", "errors", "envs.base", "engines", "cluster"},
    "cluster": {"agent", "errors", "envs", "engines", "processes", "runs.events", "cluster"},
}


def imported(text: str) -> set[str]:
    """Dotted names of the polyak modules that a file imports: `from polyak.ops import td` gives `ops.td`."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that they can be read here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("polyak.") for name in names if name.split(".")[0] == "polyak"}


def dotted(file: Path) -> str:
    """`envs/base.py` -> `envs.base`, `envs/__init__.py` -> `envs`."""
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def listed(package: Path) -> dict[str, str]:
    """The public names of a package and their modules, from the stub by which they are loaded when first used."""
    stub = package / "__init__.pyi"
    lines = ast.parse(stub.read_text()).body if stub.exists() else []
    return {
        alias.name: f"{dotted(stub)}.{line.module}".removeprefix(".")
        for line in lines
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }


def graph() -> dict[str, set[str]]:
    """For each module the modules that it imports: at the top, in functions, when first used, or only for types."""
    files = {dotted(file): file for file in SOURCE.rglob("*.py")}
    lazy = {dotted(file): listed(file.parent) for file in SOURCE.rglob("__init__.py")}

    def module_of(name: str) -> str:
        package, _, last = name.rpartition(".")
        return name if name in files else lazy.get(package, {}).get(last) or module_of(package)

    return {
        name: {module_of(other) for other in imported(file.read_text())} | set(lazy.get(name, {}).values())
        for name, file in files.items()
    }


def within(name: str, allowed: set[str]) -> bool:
    return any(f"{name}.".startswith(f"{entry}.") for entry in allowed)


def files_of(part: str) -> list[Path]:
    file, folder = SOURCE / f"{part}.py", SOURCE / part
    inner = [SOURCE / other for other in MAY_IMPORT if other.startswith(f"{part}/")]
    files = sorted(file for file in folder.rglob("*.py") if not any(file.is_relative_to(other) for other in inner))
    return [file] if file.exists() else files


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_what_it_may(part):
    files = files_of(part)
    assert files
    for file in files:
        # the page that lists the algorithms is the one place that may import them
        index = {"algorithms"} if file == SOURCE / "algorithms" / "__init__.py" else set()
        for name in imported(file.read_text()):
            assert within(name, MAY_IMPORT[part] | index), f"{file.relative_to(SOURCE)} imports polyak.{name}"


def test_no_module_imports_itself_however_far_round():
    """Not even in a function, or for types alone."""
    imports = graph()
    assert imports["envs"] >= {"envs.base", "envs.making"} and "agent" in imports["envs.base"]  # lazily, and for types
    graphlib.TopologicalSorter(imports).prepare()  # raises an error that names a circle


def test_the_reader_of_imports_sees_every_form_of_them():
    text = "import jax, polyak.envs\nfrom polyak import train\nfrom polyak.ops import td\ndef f(): import polyak.cli"
    assert imported(text) == {"envs", "train", "ops.td", "cli"}
    assert within("ops.td", {"ops"})
    assert not within("envs.probes", {"envs.base"})
    assert not within("opsy", {"ops"})


def test_an_end_is_either_terminated_or_truncated_in_every_line():
    """One word for both is how most code bases of this field lost their bootstrap."""
    for file in sorted(SOURCE.rglob("*.py")):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            assert not re.search(r"\bdones?\b", line, re.IGNORECASE), (
                f"{file.relative_to(SOURCE)}:{number}: {line.strip()}"
            )
