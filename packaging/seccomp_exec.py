"""Runs a program under a seccomp profile in Docker's format, as a container would: for scripts/seccomp-test.

    seccomp_exec.py [--strict] PROFILE PROGRAM [ARGUMENT...]

With --strict a call that the profile does not name kills the program, so that a test cannot miss it.
"""

import json
import os
import sys

import seccomp

ACTIONS = {"SCMP_ACT_ALLOW": lambda _: seccomp.ALLOW, "SCMP_ACT_ERRNO": lambda number: seccomp.ERRNO(number)}
COMPARISONS = {"SCMP_CMP_MASKED_EQ": seccomp.MASKED_EQ}


def main():
    arguments = sys.argv[1:]
    strict = arguments[0] == "--strict"
    path, program = arguments[strict], arguments[strict + 1 :]
    with open(path, encoding="utf-8") as file:
        profile = json.load(file)
    default = ACTIONS[profile["defaultAction"]](profile["defaultErrnoRet"])
    rules = seccomp.SyscallFilter(seccomp.KILL_PROCESS if strict else default)
    for entry in profile["syscalls"]:
        action = ACTIONS[entry["action"]](entry.get("errnoRet", 1))
        compared = [
            seccomp.Arg(arg["index"], COMPARISONS[arg["op"]], arg["value"], arg["valueTwo"])
            for arg in entry.get("args", [])
        ]
        for name in entry["names"]:
            # A name of another architecture resolves to a number below zero.
            if seccomp.resolve_syscall(seccomp.Arch(), name) >= 0:
                rules.add_rule(action, name, *compared)
    rules.load()
    os.execv(program[0], program)


main()
