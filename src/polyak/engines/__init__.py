"""Engines move steps: `compiled` inside one XLA program, `host` in a Python loop. Neither knows an algorithm."""
