"""That freed memory is kept."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import jax, jax.numpy as jnp
from polyak.engines import allocator
if sys.argv[1] == "kept":
    allocator.keep_freed()
jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in a worker
x = jnp.zeros(2**24)
program = jax.jit(lambda x, count: jax.lax.fori_loop(0, count, lambda i, x: x + 1, x)[0])  # needs 64 MB
def fetched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    program(x, 2).block_until_ready()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([fetched() for _ in range(10)][-1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
def test_a_program_finds_the_memory_of_its_last_call_again():
    pages = {}
    for how in ("kept", "as it comes"):
        command = [sys.executable, "-c", FAULTS, how]
        pages[how] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert pages["kept"] < 100 < pages["as it comes"]
