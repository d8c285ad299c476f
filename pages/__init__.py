"""The pages of the documentation that are written by program: `python -m pages`, then `mkdocs build -f site.yml`.

What is written by hand stands in `docs/`. These pages are made from the code, the presets, their evidence and the
results of the benchmarks, each time that the site is built, so that there is nothing to keep in step.
"""
