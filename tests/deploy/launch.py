"""Becomes a program as a container's runtime would start it; reads a description from stdin.

Not a test: an unprivileged user without capabilities and without a way to new ones, under a system
call filter, in a root that has nothing else. The mount namespace is the caller's.
"""

import ctypes
import json
import os
import sys

import seccomp

PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38


def main():
    what = json.load(sys.stdin)
    libc = ctypes.CDLL(None, use_errno=True)

    os.chroot(what["root"])
    os.chdir("/")
    for capability in range(64):
        # Those that the kernel does not know are refused, and harmless.
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups(what["groups"])
    os.setresgid(*[what["group"]] * 3)
    os.setresuid(*[what["user"]] * 3)
    os.umask(0o022)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0

    # As with RuntimeDefault and SystemCallErrorNumber=EPERM: what is not listed fails.
    calls = seccomp.SyscallFilter(defaction=seccomp.ERRNO(1))
    for call in what["calls"]:
        try:
            calls.add_rule(seccomp.ALLOW, call)
        except (RuntimeError, ValueError):
            # A call of another architecture, or too new for the library.
            pass
    # The runtime's own descriptors are none of the program's business.
    os.closerange(3, 256)
    calls.load()
    os.execve(what["command"][0], what["command"], what["environment"])


main()
