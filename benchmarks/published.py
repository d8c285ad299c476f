"""What others published beside what the presets reach: for the page of scores and those of algorithms.

No two protocols are the same, and on one run the best of training and the final policy can differ by thousands of
points, so each figure says how it was taken.
"""

from polyak.presets import Preset

HEAD = ("environment", "algorithm", "steps", "here", "worst seed", "elsewhere, with the letter of the protocol")

PROTOCOLS = {
    "a": "Tianshou, a million steps, ten seeds, the best mean of training, greedy",
    "b": "CleanRL, a million steps, v4, three seeds, the last hundred training episodes",
    "c": "Spinning Up, a million steps, v3, ten seeds, training returns read off a smoothed figure",
    "d": "the paper of PPO, a million steps, read off its figure by Tianshou",
    "e": "DQN of MinAtar's authors (Young and Tian, 2019), five million frames, training returns read off the figure",
    "f": "PPO of gymnax-blines, ten million steps",
    "g": "jaxrl, v2, ten seeds, ten greedy episodes after 300,000 steps, from its files of curves",
    "h": "the authors of TD3, v1, ten seeds, ten greedy episodes after 300,000 steps, from their files of curves",
}
MINATAR = {"Asterix": (17, 15), "Breakout": (10, 28), "Freeway": (50, 58), "SpaceInvaders": (44, 131)}
FIGURES: dict[tuple[str, str], dict[str, str]] = {
    ("HalfCheetah-v5", "ppo"): {"a": "5784 ± 1244", "b": "1443 ± 46", "c": "1733", "d": "1800"},
    ("Hopper-v5", "ppo"): {"a": "2609 ± 701", "b": "2383 ± 272", "c": "1770", "d": "2330"},
    ("Walker2d-v5", "ppo"): {"a": "3589 ± 757", "b": "2288 ± 572", "c": "1211", "d": "3460"},
    ("Hopper-v5", "trpo"): {"a": "2046 ± 1038"},
    ("Hopper-v5", "sac"): {"g": "2849 ± 653"},
    ("Hopper-v5", "td3"): {"h": "2410 ± 900"},
    ("HalfCheetah-v5", "sac"): {"g": "8651 ± 258"},
} | {
    (f"MinAtar/{game}-v1", algorithm): {"e": str(dqn), "f": str(ppo)}
    for game, (dqn, ppo) in MINATAR.items()
    for algorithm in ("dqn", "rainbow", "pqn", "ppo")
}


def rows(presets: list[Preset]) -> list[tuple[str, ...]]:
    """One for each preset that was measured and has a counterpart."""
    found = []
    for preset in presets:
        elsewhere, proof = FIGURES.get((preset.env, preset.algorithm)), preset.evidence
        if elsewhere and "mean" in proof:
            figures = ", ".join(f"{figure} ({letter})" for letter, figure in elsewhere.items())
            here = (f"{preset.steps:,}", f"{proof['mean']:.4g}", f"{proof['worst_seed']:.4g}")
            found.append((preset.env, preset.algorithm, *here, figures))
    return found


def protocols(rows: list[tuple[str, ...]]) -> str:
    """What the letters in `rows` stand for, a line each."""
    named = " ".join(figures for *_, figures in rows)
    return "\n".join(f"- ({letter}) {words}" for letter, words in PROTOCOLS.items() if f"({letter})" in named)
