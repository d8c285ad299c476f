"""The course: chapters as notebooks, and the checks of their exercises.

from polyak.course import check

f = check("4.1", f)
"""

from polyak.course.checking import check
from polyak.course.notebooks import Chapter, chapters, copy

__all__ = ["Chapter", "chapters", "check", "copy"]
