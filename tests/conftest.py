"""One XLA thread a test process, as in polyak's own workers: two would wait for each other."""

import os

os.environ.setdefault("NPROC", "1")
