"""The random walks of Sutton and Barto (2018) by their ids: example 6.2, and example 7.1, with a loss on the left."""

from typing import NamedTuple


class Walk(NamedTuple):
    """What `MDP.random_walk` makes it from."""

    states: int  # between the ends
    left: float  # the reward for leaving on the left; on the right it is 1


WALKS = {"random-walk/5": Walk(5, 0.0), "random-walk/19": Walk(19, -1.0)}
