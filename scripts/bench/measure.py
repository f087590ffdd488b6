"""Measures the floor, the peers and EchoMesh in turn, for scripts/bench-peers, which built them.

Not the summary (summary.py) and not the load (each system has its own generator, made to measure alike).
In: programs and workloads. Out: DIR/results.jsonl, one object for each thing measured, all systems in the
same terms, and DIR/machine.json. What cannot be measured is an object too, with the reason.
Bounds: every measurement holds the lock, and is ended after LIMIT_S.

Server CPU is in all three the time that core 0 was not idle, by the idle columns of /proc/stat: kernel work
for the network is in it, whoever it is charged to. EchoMesh's and the peers' generators read it themselves.
"""

import argparse
import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import platform
import re
import socket
import statistics
import subprocess
import sys
import time

SERVER_CORE, GENERATOR_CORE = 0, 1
# One hold of the lock, seconds.
LIMIT_S = 115

# The floor's share of each workload: packets in per second (0: as many as it takes), copies of each,
# clients, and seconds; the lighter the load, the longer, as idle time is told in hundredths of a second.
FLOOR = {
    "w1": (500, 9, 100, 6),
    "w2": (3000, 9, 200, 3),
    "w3": (150, 99, 99, 6),
    "w4": (100, 499, 499, 4),
    "w5": (0, 9, 900, 3),
    "w5big": (0, 99, 396, 3),
}
# Of io_uring both, as neither is the better one everywhere; with what Linux 5.10 has alone it was always dearer.
FLOOR_VARIANTS = {"mmsg": ("mmsg", ""), "uring": ("uring", ""), "uring defer": ("uring", "defer")}
FLOOR_WARM_S = 0.5
# socket(7); Python has no name for it.
SO_TIMESTAMPNS = 35
FLOOR_LINE = re.compile(
    r"(?P<mpps>[\d.]+) Mpps .*?\(thread (?P<thread>[\d.]+)\)\s+busy (?P<busy>[\d.]+)\s+delivered (?P<delivered>[\d.]+)"
    r".*?errs (?P<errs>\d+) .*?steal (?P<steal>[\d.]+)"
)
# One shard and two: 20 rooms of 10, 8 speakers in each, so 8,000 packets in and 72,000 out.
SCALING_LOAD = ["voice", "--rooms", "20", "--members", "10", "--speakers", "8", "--seconds", "4"]
SCALING_FLOOR = {"packets_per_s": 8_000, "fanout": 9, "clients": 200, "seconds": 4}
# Share of the server's core that went to something else and still does not matter.
FOREIGN_MAX = 0.04


def idle_s(core):
    """Seconds this core was idle since the machine began, and now."""
    with open("/proc/stat", encoding="ascii") as stat:
        for line in stat:
            if line.startswith(f"cpu{core} "):
                columns = line.split()
                return (int(columns[4]) + int(columns[5])) / os.sysconf("SC_CLK_TCK"), time.monotonic()
    raise SystemExit(f"measure: /proc/stat has no core {core}")


@contextlib.contextmanager
def alone(lock):
    """Nobody else measures or builds meanwhile. Children do not inherit the lock: Python closes files for them."""
    with open(lock, "a", encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


class Results:
    """The file of results; each is kept as soon as it is there."""

    def __init__(self, folder):
        self.path = folder / "results.jsonl"
        old = [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []
        self.first_round = max((result["round"] for result in old), default=0) + 1

    def add(self, number, system, workload, kind, **figures):
        result = {"round": number, "system": system, "workload": workload, "kind": kind, **figures}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        shown = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in figures.items()
            if value not in (None, "", [], False)
        )
        print(f"  {number} {workload} {system} {kind}: {shown}", file=sys.stderr)

    def failed(self, number, system, workload, why):
        self.add(number, system, workload, "failed", why=" ".join(why.split())[-300:])


def floor_once(program, variant, options, workload):
    """One variant of the floor, and its core's busy share in the measured stretch. Called with the lock held."""
    rate, fanout, clients, seconds = FLOOR[workload]
    command = [program, "fanout", "--variant", variant, "--opts", options, "--fanout", fanout, "--clients", clients]
    command += ["--rate", rate, "--secs", seconds, "--warm", FLOOR_WARM_S, "--runs", 1]
    command += ["--server-cpu", SERVER_CORE, "--gen-cpu", GENERATOR_CORE]
    samples = []
    # Its threads pin themselves; it may not inherit this program's one core before they do.
    process = subprocess.Popen(
        ["taskset", "-c", f"{SERVER_CORE},{GENERATOR_CORE}", "timeout", "-k", "3", "30", *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None:
        samples.append(idle_s(SERVER_CORE))
        time.sleep(0.05)
    printed, errors = process.communicate()
    line = FLOOR_LINE.search(printed)
    if process.returncode != 0 or not line:
        raise RuntimeError(f"{' '.join(map(str, command))}: {errors or printed}")
    # The load is steady, so any stretch inside the measured one will do: its last `seconds`, less the end,
    # in which sockets are closed.
    end = samples[-1][1]
    inside = [sample for sample in samples if end - seconds <= sample[1] <= end - 0.3]
    (idle_first, first), (idle_last, last) = inside[0], inside[-1]
    busy = 1.0 - (idle_last - idle_first) / (last - first)
    told = {name: float(value) for name, value in line.groupdict().items()}
    # With a rate, what it printed is rounded; the rate is kept exactly.
    per_s = rate * fanout if rate else told["mpps"] * 1e6
    thread_busy = told["thread"] * per_s / 1e9
    return {
        "datagrams_per_s": float(per_s),
        "server_cpu": busy,
        "us_per_datagram": busy * 1e6 / per_s,
        "thread_us_per_datagram": told["thread"] / 1e3,
        "delivered": told["delivered"],
        "disturbed": busy - thread_busy > FOREIGN_MAX + 0.02 or told["steal"] > 2 or told["errs"] > 0,
    }


def floor(context, number, workload):
    # While any socket asks for it, the kernel stamps every datagram of the machine. Both generators ask, so the floor
    # is measured with it too.
    with alone(context.lock), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stamping:
        stamping.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        for name, (variant, options) in FLOOR_VARIANTS.items():
            try:
                figures = floor_once(context.floor, variant, options, workload)
            except RuntimeError as error:
                context.results.failed(number, "floor", workload, str(error))
                continue
            context.results.add(number, "floor", workload, "voice" if FLOOR[workload][0] else "most", variant=name, **figures)


def floor_crypto(context, number):
    """What sealing one packet costs, by the library EchoMesh uses."""
    with alone(context.lock):
        printed = subprocess.run(
            ["taskset", "-c", str(SERVER_CORE), "timeout", "60", context.floor, "crypto", "--runs", "3"],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
    found = re.search(r"^ring AES-128-GCM\s+([\d.]+) ns", printed, re.MULTILINE)
    if found:
        context.results.add(number, "floor", "crypto", "crypto", seal_us=float(found[1]) / 1e3)
    else:
        context.results.failed(number, "floor", "crypto", "floor crypto printed no ring AES-128-GCM")


def peer_result(context, number, raw):
    """One line of the peers' generator in the terms of all."""
    peer, label, kind = raw["peer"], raw["label"], raw["kind"]
    if kind in ("voice", "ramp") and raw.get("ok", True):
        # As peers_summary.py: more than 4 % of the server's core, or 8 % of the generator's, was not theirs.
        disturbed = (
            raw["core_pct"] - raw["srv_cpu_pct"] > 100 * FOREIGN_MAX
            or raw["gen_core_pct"] - raw["gen_cpu_pct"] > 200 * FOREIGN_MAX
        )
        context.results.add(
            number, peer, label, "voice" if kind == "voice" else "most",
            datagrams_per_s=float(raw["fwd_per_s"]), server_cpu=raw["core_pct"] / 100,
            us_per_datagram=raw["core_us_per_dgram"], process_us_per_datagram=raw["srv_us_per_dgram"],
            loss=raw["loss"], speakers=raw["speakers"], p50_us=raw["klat_us"]["p50"], p99_us=raw["klat_us"]["p99"],
            p999_us=raw["klat_us"]["p999"], rss_kib=raw["rss_kb"], generator_cpu=raw["gen_cpu_pct"] / 100,
            generator_late_us=raw["send_late_us"]["p99"], disturbed=disturbed,
        )  # fmt: skip
    elif kind == "ramp":
        context.results.failed(number, peer, label, "no step of the ramp held")
    elif kind == "login":
        context.results.add(
            number, peer, label, "logins", name=f"{raw['conc']} at a time", per_s=raw["logins_per_s"],
            p50_us=raw["login_us"]["p50"], p99_us=raw["login_us"]["p99"], server_cpu=raw["srv_cpu_pct"] / 100,
            disturbed=False,
        )  # fmt: skip
    elif kind == "text":
        context.results.add(
            number, peer, label, "chat", name=raw["mode"], per_s=raw["deliveries_per_s"], p50_us=raw["lat_us"]["p50"],
            p99_us=raw["lat_us"]["p99"], server_cpu=raw["srv_cpu_pct"] / 100, disturbed=False,
        )  # fmt: skip


def peer(context, number, name, workload):
    """peers.sh starts and stops the server, and holds the lock itself."""
    what = "login login16 text" if workload == "control" else workload
    raw = pathlib.Path(os.environ["PEERS_TMP"]) / f"{name}-{workload}-{number}.jsonl"
    environment = {**os.environ, "PEERS_OUT": str(raw)}
    cores = f"{SERVER_CORE},{GENERATOR_CORE}"
    run = subprocess.run(
        ["taskset", "-c", cores, context.peers_script, "run", name, what, "1"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = raw.read_text().splitlines() if raw.exists() else []
    if not lines:
        context.results.failed(number, name, workload, run.stderr or "peers.sh printed no result")
    for line in lines:
        peer_result(context, number, json.loads(line))


def echomesh_result(context, number, outcome):
    """One outcome of the load test in the terms of all (loadtest/src/results.rs has the units)."""
    kind, results = outcome["kind"], context.results
    if kind in ("voice", "ramp"):
        if kind == "ramp" and outcome["best"] is None:
            results.failed(number, "echomesh", outcome["name"], "no step of the ramp held")
            return
        step = outcome["measured"] if kind == "voice" else outcome["steps"][outcome["best"]]
        server = step["server"] or {}
        busy = server.get("core_busy")
        results.add(
            number, "echomesh", outcome["name"], "voice" if kind == "voice" else "most",
            datagrams_per_s=step["forwarded_per_s"], server_cpu=server.get("cpu") if busy is None else busy,
            us_per_datagram=server.get("us_per_datagram"),
            process_us_per_datagram=server.get("cpu", 0.0) * 1e6 / max(step["forwarded_per_s"], 1.0),
            loss=step["loss"], speakers=step["speakers_total"], p50_us=step["latency_us"]["p50"],
            p99_us=step["latency_us"]["p99"], p999_us=step["latency_us"]["p999"], rss_kib=server.get("rss_kib"),
            generator_cpu=step["generator_cpu"], generator_late_us=step["send_late_us"]["p99"],
            stopped_by=outcome.get("stopped_by"), disturbed=step["disturbed"] or (kind == "voice" and step["generator_limited"]),
        )  # fmt: skip
    elif kind == "logins":
        results.add(
            number, "echomesh", "logins", "logins", name=f"{outcome['name']}, {outcome['concurrency']} at a time",
            per_s=outcome["per_s"], p50_us=outcome["latency_us"]["p50"], p99_us=outcome["latency_us"]["p99"],
            server_cpu=outcome["server_cpu"], disturbed=False,
        )  # fmt: skip
    elif kind == "chat":
        results.add(
            number, "echomesh", "chat", "chat", name=outcome["mode"], per_s=outcome["deliveries_per_s"],
            p50_us=outcome["deliver_us"]["p50"], p99_us=outcome["deliver_us"]["p99"], server_cpu=outcome["server_cpu"],
            disturbed=False,
        )  # fmt: skip


def echomesh_outcomes(context, number, name, arguments):
    """What the load test finds with these arguments, on both cores: it pins server and generator itself."""
    file = context.out / "raw" / f"echomesh-{name}-{number}.json"
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)
    command = [context.loadtest, *arguments, "--json", str(file), "--quiet"]
    with alone(context.lock):
        run = subprocess.run(
            ["taskset", "-c", f"{SERVER_CORE},{GENERATOR_CORE}", "timeout", "-k", "5", str(LIMIT_S), *command],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    # It keeps what it found out before it failed.
    outcomes = json.loads(file.read_text())["outcomes"] if file.exists() else []
    if run.returncode != 0 or not outcomes:
        context.results.failed(number, "echomesh", name, run.stderr or f"ended with exit code {run.returncode}")
    return outcomes


def echomesh(context, number, workload):
    for name in ("logins", "chat", "chat-open") if workload == "control" else (workload,):
        for outcome in echomesh_outcomes(context, number, name, [name, "--shards", "1"]):
            echomesh_result(context, number, outcome)


def scaling_floor_once(context, servers):
    """So many floors at once, each with an equal part of the load: the mean of what a datagram costs their threads."""
    load, running = SCALING_FLOOR, []
    for core in range(servers):
        # Each one's generator is on the other core and sleeps between turns: a server may need that core.
        command = [context.floor, "fanout", "--variant", "mmsg", "--gen-sleep", "--fanout", load["fanout"]]
        command += ["--clients", load["clients"] // servers, "--rate", load["packets_per_s"] // servers]
        command += ["--secs", load["seconds"], "--warm", FLOOR_WARM_S, "--runs", 1]
        command += ["--server-cpu", core, "--gen-cpu", 1 - core]
        running.append(
            subprocess.Popen(
                ["taskset", "-c", f"{SERVER_CORE},{GENERATOR_CORE}", "timeout", "-k", "3", "30", *map(str, command)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    # All are waited for, also when one failed.
    ended = [(process, *process.communicate()) for process in running]
    lines = [FLOOR_LINE.search(printed) for _, printed, _ in ended]
    if not all(lines):
        raise RuntimeError(" ".join(errors or printed for _, printed, errors in ended))
    return statistics.mean(float(line["thread"]) for line in lines) / 1e3


def scaling(context, number):
    """What a datagram costs one shard, and two that share the same load; and one floor and two. Only the time of the
    servers' own threads counts: on two cores the generator is on them too."""
    with alone(context.lock), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stamping:
        stamping.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        for servers in (1, 2) if context.floor else ():
            try:
                us = scaling_floor_once(context, servers)
            except RuntimeError as error:
                context.results.failed(number, "floor", "scaling", str(error))
                continue
            context.results.add(number, "floor", "scaling", "scaling", servers=servers, us_per_datagram=us, disturbed=False)
    for outcome in echomesh_outcomes(context, number, "scaling", [*SCALING_LOAD, "--shards", "1,2"]):
        step = outcome["measured"]
        context.results.add(
            number, "echomesh", "scaling", "scaling", servers=outcome["shards"],
            us_per_datagram=step["server"]["cpu"] * 1e6 / step["forwarded_per_s"], loss=step["loss"],
            p50_us=step["latency_us"]["p50"], p99_us=step["latency_us"]["p99"], generator_cpu=step["generator_cpu"],
            disturbed=step["generator_limited"],
        )  # fmt: skip


def machine(context, missing):
    """On what, when, and of which commit."""

    def said(*command):
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    models = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    told = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "kernel": platform.release(),
        "processor": models[1] if models else platform.machine(),
        "cores": os.sysconf("SC_NPROCESSORS_ONLN"),
        "commit": said("git", "describe", "--always", "--dirty", "--abbrev=10"),
        "mumble13": said("dpkg-query", "-W", "-f", "${Version}", "mumble-server"),
        "missing": missing,
    }
    file = context.out / "machine.json"
    if context.results.first_round > 1 and file.exists():
        before = json.loads(file.read_text())
        for what in ("commit", "kernel", "processor", "cores"):
            if before.get(what) != told[what]:
                raise SystemExit(
                    f"bench-peers: {context.out} has results of {what} {before.get(what)}, and this is {told[what]}: "
                    "name another folder with --out, or remove results.jsonl there"
                )
    file.write_text(json.dumps(told, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description="called by scripts/bench-peers")
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--workloads", type=str.split, required=True)
    parser.add_argument("--peers", type=str.split, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--floor", required=True)
    parser.add_argument("--peers-script", required=True)
    parser.add_argument("--loadtest", required=True)
    parser.add_argument("--missing", action="append", default=[])
    context = parser.parse_args()
    context.lock = os.environ["CPU_LOCK"]
    context.results = Results(context.out)
    machine(context, context.missing)
    first = context.results.first_round
    for number in range(first, first + context.runs):
        if context.floor:
            floor_crypto(context, number)
        for workload in context.workloads:
            if workload == "scaling":
                scaling(context, number)
                continue
            if context.floor and workload in FLOOR:
                floor(context, number, workload)
            for name in context.peers:
                peer(context, number, name, workload)
            echomesh(context, number, workload)


if __name__ == "__main__":
    main()
