"""Runs polyak commands in this process under an audit hook and a memory limit; `test_hostile_files.py` starts it.

Standard input: JSON, the folder in which files may be written and a list of commands. Standard output: a line of JSON
for each command, then one with what all of them together used.
"""

import contextlib
import io
import json
import os
import resource
import sys
import time
from pathlib import Path

HEADROOM = 2**30  # bytes that all commands together may take beyond what Python, JAX and matplotlib take to be loaded
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen", "pickle.find_class")
CHANGES = ("os.rename", "os.remove", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod")

seen: list[str] = []
allowed = ""


def watch(event: str, args: tuple) -> None:
    """Notes what no command may do: start something, run code that lies with the files, change what lies elsewhere."""
    if not allowed:
        return
    paths: tuple = ()
    if event in STARTS:
        seen.append(f"{event} {args[0]!r}")
    elif event == "exec" and getattr(args[0], "co_filename", "").startswith(allowed):
        seen.append(f"exec {args[0].co_filename}")
    elif event == "open" and isinstance(args[2], int) and args[2] & WRITING and not isinstance(args[0], int):
        paths = args[:1]
    elif event in CHANGES:
        paths = args[:2] if event == "os.rename" else args[:1]
    elif event == "sqlite3.connect" and "mode=ro" not in str(args[0]):
        paths = args[:1]
    for path in paths:
        # the folder is resolved and the name is not: a link that is removed or replaced lies where it lies
        place = Path(os.path.realpath(Path(os.fsdecode(path)).parent)) / Path(os.fsdecode(path)).name
        if event == "open" and place.is_symlink():
            place = Path(os.path.realpath(place))
        if place != Path(os.devnull) and not place.is_relative_to(allowed):
            seen.append(f"{event} {place}")


def main() -> None:
    global allowed
    import jax
    import matplotlib.figure

    import polyak.cli

    jax.jit(lambda x: x + 1)(1.0)
    matplotlib.figure.Figure().add_subplot().figure.savefig(io.BytesIO())
    task = json.load(sys.stdin)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM, used + HEADROOM))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    sys.addaudithook(watch)
    for command in task["commands"]:
        out, err, status = io.StringIO(), io.StringIO(), None
        seen.clear()
        allowed = task["folder"]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = polyak.cli.main(command)
        except BaseException as error:
            print(f"Traceback: {type(error).__name__}: {error}", file=err)
        allowed = ""
        print(json.dumps({"status": status, "out": out.getvalue(), "err": err.getvalue(), "seen": list(seen)}))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"kilobytes": after - before, "seconds": time.process_time() - began}))


if __name__ == "__main__":
    main()
