"""Memory that a program has freed, kept by the process."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
KEPT = 2**29  # bytes


def keep_freed() -> None:
    """Lets this process keep freed memory, up to half a gigabyte, instead of handing it back to the system.

    An XLA program asks for all its temporary memory at each call. For a piece above 32 MB glibc asks the system anew
    each time, which fetches the pages one by one as they are first written: two updates of DQN from images spent a
    third of their time on that. Threads share one heap, because glibc gives up a thread's own heap when it is empty.
    Other C libraries are left as they are. With `processes=0` the process is the user's own, and the settings last.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_THRESHOLD, KEPT), (M_TRIM_THRESHOLD, KEPT), (M_ARENA_MAX, 1)):
            library.mallopt(parameter, value)
