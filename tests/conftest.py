"""One XLA thread a test process, as in polyak's own workers: two would wait for each other.

Most of the time goes into compiling, so that is made cheap: XLA hardly optimises, programs do not say which lines they
come from, and a program that was compiled is kept on disk, because most processes that tests start run programs that
another has run before them. Tracing makes many objects that stay, so Python seldom looks for those that do not.
"""

import gc
import os
from pathlib import Path

os.environ.setdefault("NPROC", "1")
CHEAP = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",  # they go through MLIR, and take half of the time
    "--xla_cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault("XLA_FLAGS", " ".join(CHEAP))
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# JAX does not write it in one piece. Who reads a program that another is still writing warns and compiles it: harmless.
# The same is said to pytest in pyproject.toml, for the tests' own processes.
os.environ.setdefault("PYTHONWARNINGS", "ignore:Error reading persistent compilation cache entry")

gc.set_threshold(200_000, 20, 100)


def pytest_collection_modifyitems(items):
    """The longest files first, so that no process is left alone with one at the end."""
    longest = ("test_readme.py", "test_every_algorithm.py", "test_resume.py", "test_training.py")
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))
