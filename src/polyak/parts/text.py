"""Numbers on one line, for the command line, presets and run folders."""


def number_text(number: float) -> str:
    """The shortest text that is read back as the same number: `0.1`, `1`, `1e16`."""
    return repr(float(number)).removesuffix(".0").replace("e+", "e")
