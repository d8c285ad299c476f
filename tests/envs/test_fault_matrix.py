"""{raise, kill, stop, exit} x {reset, step, close} x {in process, workers}: named, got over, nothing left behind."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from polyak.envs import calls
from polyak.envs.base import EpisodeSeeds
from polyak.envs.from_gymnasium import GymnasiumVector
from polyak.envs.worker_vector import WorkerVector
from polyak.errors import EnvironmentFault
from tests.envs.broken import Broken, is_gone
from tests.speeds import slow

SEED, AT_FAULT, TIMEOUT = 7, 1, 0.4
OF = EpisodeSeeds(SEED, 2)
HOWS, WHERES = ("raise", "kill", "stop", "exit"), ("reset", "step", "close")
CELLS = pytest.mark.parametrize(("how", "where"), [(how, where) for how in HOWS for where in WHERES])
WHAT = {
    "raise": "{} raised ValueError: the motor is too hot",
    "kill": "its process was killed by SIGKILL during {}",
    "stop": "{} did not return within 0.4 seconds because its process was stopped",
    "exit": "its process ended with status 3 during {}",
}
WHICH = {
    "reset": f"broken, environment 1 of 2, step 0 of the episode with seed {OF(1, 1)}: ",
    "step": f"broken, environment 1 of 2, step 2 of the episode with seed {OF(1, 1)}, action 4: ",
    "close": "broken, environment 1 of 2: ",
}


def broken(how, where):
    return lambda: Broken(how, where, OF(AT_FAULT, 0))


def shared_memories() -> list[str]:
    """What this process holds of shared memory, and what there is with a name."""
    mine = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return sorted([name for name in mine if "memfd:polyak" in name] + os.listdir("/dev/shm"))


def play(vector, steps):
    actions = np.array([3, 4], np.int32)
    return [vector.step(actions) for _ in range(steps)]


@CELLS
def test_in_a_worker_a_fault_is_named_and_got_over(how, where):
    before = shared_memories()
    vector = WorkerVector(broken(how, where), 2, 1, "broken", step_timeout=TIMEOUT, on_fault="restart")
    pids = [vector._processes[0].pid]
    vector.reset(SEED)
    outcomes = play(vector, 8)
    pids.append(vector._processes[0].pid)
    began = time.monotonic()
    vector.close()
    assert time.monotonic() - began < TIMEOUT + 1.5
    assert is_gone(pids, 0.0)
    assert shared_memories() == before

    (told,) = vector.faults
    assert told.startswith(WHICH[where] + WHAT[how].format(where)) and "\n" not in told
    assert not any(outcome.terminated.any() for outcome in outcomes)
    cut = {"reset": 3, "step": 5, "close": None}[where]  # the step in which it broke
    assert [t for t, outcome in enumerate(outcomes, 1) if outcome.truncated.all()] == {
        "reset": [3, 6],
        "step": [3, 5, 8],
        "close": [3, 6],
    }[where]
    if cut:
        assert told.endswith("; the environment was made anew.")
        outcome, earlier = outcomes[cut - 1], outcomes[cut - 2]
        np.testing.assert_array_equal(outcome.next_obs, earlier.obs)  # the last good ones
        np.testing.assert_array_equal(outcome.reward, [0.0, 0.0])
        np.testing.assert_array_equal(outcome.obs, [[0.0], [0.0]])  # lives that have just begun
        assert vector.seeds == [OF(i, vector.episodes[i]) for i in range(2)]


@pytest.mark.parametrize(("how", "where"), [("raise", "reset"), ("kill", "step"), ("hang", "reset")])
def test_a_fault_in_a_worker_stops_everything_by_default(how, where):
    before = shared_memories()
    vector = WorkerVector(broken(how, where), 2, 2, "broken", step_timeout=TIMEOUT)
    pids = [process.pid for process in vector._processes]
    vector.reset(SEED)
    what = {**WHAT, "hang": "{} did not return within 0.4 seconds; repair it"}[how].format(where)
    with pytest.raises(EnvironmentFault, match=f"^{re.escape(WHICH[where] + what)}"):
        play(vector, 8)
    assert is_gone(pids, 0.0)
    assert shared_memories() == before
    with pytest.raises(EnvironmentFault, match="its processes were ended"):
        play(vector, 1)
    vector.close()


ALONE = """
import sys, numpy as np
from polyak.envs import calls
from polyak.envs.from_gymnasium import GymnasiumVector
from tests.envs.broken import Broken
calls.attach(int(sys.argv[1]))
vector = GymnasiumVector(lambda: Broken(sys.argv[2], sys.argv[3], int(sys.argv[4])), 2, "broken")
vector.reset(int(sys.argv[5]))
for _ in range(8):
    vector.step(np.array([3, 4], np.int32))
vector.close()
sys.exit(0)
"""


@pytest.mark.parametrize(
    ("how", "where"), [*((how, where) for how in ("kill", "stop", "exit") for where in WHERES), ("hang", "step")]
)
def test_in_process_whoever_watches_can_name_what_ends_or_stops_it(how, where):
    """What `train` does for its worker processes, with less to wait for; tests/torture goes through `train` itself."""
    fd = calls.shared_memory(calls.PAGE)
    note = calls.CallNote(fd)
    patience = calls.Patience(note, TIMEOUT)
    words = map(str, (fd, how, where, OF(AT_FAULT, 0), SEED))
    process = subprocess.Popen([sys.executable, "-c", ALONE, *words], pass_fds=[fd])
    os.close(fd)
    fault, until = None, time.monotonic() + 30
    while fault is None and time.monotonic() < until:
        if (status := process.poll()) is not None:
            fault = calls.death("broken", note.read(), status)
        elif call := patience.overdue():
            fault = patience.hang("broken", call, process.pid)
        else:
            time.sleep(patience.interval)
    process.kill()
    process.wait()
    what = {**WHAT, "hang": "{} did not return within 0.4 seconds; repair it"}[how].format(where)
    assert str(fault).startswith(WHICH[where] + what)


@pytest.mark.parametrize("where", WHERES)
def test_in_process_what_raises_is_named_and_got_over(where):
    vector = GymnasiumVector(broken("raise", where), 2, "broken", on_fault="restart")
    vector.reset(SEED)
    outcomes = play(vector, 8)
    vector.close()
    (told,) = vector.faults
    assert told.startswith(WHICH[where] + WHAT["raise"].format(where))
    assert not any(outcome.terminated.any() for outcome in outcomes)
    if where == "step":
        cut = outcomes[4]
        assert cut.truncated.tolist() == [False, True] and cut.reward.tolist() == [1.0, 0.0]
        assert cut.next_obs.ravel().tolist() == [5.0, 4.0] and cut.obs.ravel().tolist() == [5.0, 0.0]

    stopped = GymnasiumVector(broken("raise", where), 2, "broken")
    stopped.reset(SEED)
    if where == "close":
        play(stopped, 8)
        stopped.close()  # harms nothing, so it stops nobody
        assert stopped.faults[0].startswith(WHICH["close"])
    else:
        with pytest.raises(EnvironmentFault, match=re.escape(WHICH[where])):
            play(stopped, 8)


def test_in_the_users_own_process_an_alarm_ends_a_hang():
    vector = GymnasiumVector(broken("hang", "step"), 2, "broken", on_fault="restart")
    with calls.alarm("broken", 0.2):
        vector.reset(SEED)
        outcomes = play(vector, 8)
    assert vector.faults[0].startswith(WHICH["step"] + "step did not return within 0.2 seconds")
    assert not any(outcome.terminated.any() for outcome in outcomes)


ORPHAN = """
import sys, threading, numpy as np
from polyak.envs.worker_vector import WorkerVector
from tests.envs.broken import Broken
how, of, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
vector = WorkerVector(lambda: Broken(how, "step", of), 2, 2, "broken", step_timeout=60)
vector.reset(seed)
print(*[process.pid for process in vector._processes], flush=True)
for _ in range(8):
    vector.step(np.array([3, 4], np.int32))
"""


@pytest.mark.parametrize("how", [slow("hang"), "stop"])
def test_workers_end_when_their_parent_is_killed(how):
    words = map(str, (how, OF(AT_FAULT, 0), SEED))
    with subprocess.Popen([sys.executable, "-c", ORPHAN, *words], stdout=subprocess.PIPE) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        time.sleep(0.3)
        assert process.poll() is None  # it waits for the step
        process.kill()
    assert len(pids) == 2 and is_gone(pids, 3.0)
