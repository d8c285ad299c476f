"""The checks of `polyak.check`, a subject a file, and the playing that they look at."""
