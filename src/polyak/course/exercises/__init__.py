"""The exercises, a file a chapter: the right functions, in plain NumPy where a loop calls them, and common mistakes."""
