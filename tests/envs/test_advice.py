"""Spaces that polyak cannot take, or takes at a price: told in a sentence, with the wrapper that helps."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple

from polyak.envs import PROBES, make
from polyak.errors import EnvironmentFault
from tests.envs.broken import Moody

SMALL = Box(0, 255, (2,), np.uint8)


def with_spaces(observed: gymnasium.Space = SMALL, acted: gymnasium.Space = Moody.action_space) -> type[Moody]:
    return type("Given", (Moody,), {"observation_space": observed, "action_space": acted})


WIDE = {
    "a count of 64 bits": (
        Box(0, 2**40, (2,), np.int64),
        "holds whole numbers from 0 to 1,099,511,627,776, and polyak keeps those from -2,147,483,648 to 2,147,483,647",
    ),
    "a bound of 64 bits in one place": (
        Box(np.array([-(2**31) - 1, 0]), np.array([0, 1]), dtype=np.int64),
        "from -2,147,4",
    ),
    "unsigned": (Box(0, 2**32 - 2, (2,), np.uint32), "to 4,294,967,294"),
    "many": (Discrete(2**40), "to 1,099,511,627,775"),
    "a far start": (Discrete(3, start=2**31), "from 2,147,483,648"),
    "many choices": (MultiDiscrete([2, 3], start=[0, 2**31]), "to 2,147,483,650"),
    "a part": (
        Dict({"level": Discrete(3), "inner": Tuple([Discrete(2**24 + 2)])}),
        r"Part \['inner'\]\[0\] of the {kind} space, Discrete\(16777218\), holds whole numbers from 0 to 16,777,217, "
        "and beside other parts polyak keeps those from -16,777,216 to 16,777,216",
    ),
}


@pytest.mark.parametrize("title", WIDE)
@pytest.mark.parametrize(("kind", "wrapper"), [("observation", "TransformObservation"), ("action", "TransformAction")])
def test_whole_numbers_that_cannot_be_kept_are_refused_with_the_wrapper_that_helps(title, kind, wrapper):
    space, says = WIDE[title]
    with pytest.raises(EnvironmentFault, match=f"^Given: .*{says.format(kind=kind)}.*{wrapper}") as told:
        make(with_spaces(**{{"observation": "observed", "action": "acted"}[kind]: space}))
    assert str(told.value).count("\n") == 0 and str(told.value).endswith(".")


def test_a_compiled_environment_is_refused_alike():
    wide = PROBES["probe/two-steps"]()._replace(observation_space=Discrete(2**31 + 1))
    with pytest.raises(EnvironmentFault, match=r"^probe/two-steps: The observation space Discrete"):
        make(wide)
