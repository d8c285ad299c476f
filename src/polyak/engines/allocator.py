"""What becomes of memory that a program has freed."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
KEPT = 2**29  # bytes


def keep_freed() -> None:
    """Lets this process keep freed memory, up to half a gigabyte, instead of handing it back to the system.

    An XLA program asks for all its temporary memory at each call. Of glibc a piece above 32 MB is a new one each time,
    whose pages the system fetches one by one as they are first written: a round of two updates of DQN from images spent
    a third of its time so. Threads share one heap, because glibc gives up those of their own when they are empty. Other
    C libraries are left as they are. With `processes=0` the process is the user's own, and stays so.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_THRESHOLD, KEPT), (M_TRIM_THRESHOLD, KEPT), (M_ARENA_MAX, 1)):
            library.mallopt(parameter, value)
