"""What metrics cost within one process, for scripts/bench/metrics-cost: turns with and without, side by side.

Not the load (echomesh-loadtest) and not the build. In: a server that measures half of its turns and tells what both
halves cost (feature `interleaved`, server/src/interleave.rs). Out: DIR/rounds.jsonl and a table.
Bounds: a round is ended after LIMIT_S; ends its own processes only.
What it costs to serve metrics is the processor time of the threads that are no shard.
"""

import argparse
import collections
import contextlib
import fcntl
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request

SERVER_CORE, GENERATOR_CORE = "0", "1"
# Seconds of the load, and of its steady middle that is looked at; the rest is setting up and taking down.
LOAD_S, COMPARED_S, END_S, LIMIT_S = 63, 60, 1, 100
# Often, to see what one costs; Prometheus is usually told to scrape once in USUAL_S.
SCRAPE_S, USUAL_S = 1, 15
WORKLOADS = {
    "w1": ["--rooms", "10", "--members", "10", "--speakers", "1"],
    "w2": ["--rooms", "10", "--members", "10", "--speakers", "3"],
    "w3": ["--rooms", "1", "--members", "100", "--speakers", "2"],
    "busy": ["--rooms", "60", "--members", "10", "--speakers", "1"],
}
FLAGS = "--address 127.0.0.1 --port 0 --shards 1 --no-pin --speakers-max 0 --connections-per-address 0 "
FLAGS += "--connects-per-second 0 --requests-per-second 0 --password-memory-kib 8 --password-passes 1 "
FLAGS += "--admin 127.0.0.1:0 --log warn,echomesh_server::interleave=info"


class Server:
    def __init__(self, program, folder, is_control):
        command = ["taskset", "-c", SERVER_CORE, program, "--data-dir", folder, *FLAGS.split()]
        environment = os.environ | ({"ECHOMESH_INTERLEAVE_CONTROL": "1"} if is_control else {})
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)
        self.told = []
        threading.Thread(target=self.listen).start()
        for line in self.process.stdout:
            if found := re.search(r"http://\S+/metrics", line):
                self.url = found[0]
            if found := re.match(r"listening on 127\.0\.0\.1:(\d+)", line):
                self.port = found[1]
                return
        raise SystemExit(f"metrics-cost: {program} did not start")

    def listen(self):
        """Keeps (when, nanoseconds a datagram measured, not measured)."""
        for line in self.process.stderr:
            sums = {name: int(value) for name, value in re.findall(r"(o\w+\.\w+)=(\d+)", line)}
            if sums.get("on.datagrams") and sums.get("off.datagrams"):
                halves = [sums[f"{half}.cpu_ns"] / sums[f"{half}.datagrams"] for half in ("on", "off")]
                self.told.append((time.monotonic(), *halves))

    def others_ns(self):
        """Processor time of all threads but the shard's."""
        total = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # It has ended since.
                if not (task / "comm").read_text().startswith("shard"):
                    total += int((task / "schedstat").read_text().split()[0])
        return total

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)


def watch(server, load, scrapes):
    """(when, processor time of the threads that are no shard, scrapes so far) each SCRAPE_S until the load is over."""
    samples, count = [], 0
    while load.poll() is None:
        samples.append((time.monotonic(), server.others_ns(), count))
        if scrapes:
            urllib.request.urlopen(server.url, timeout=10).read()
            count += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            load.wait(SCRAPE_S)
    return samples


def one_round(context, number, workload, what):
    is_control = what == "control"
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as held:
        if context.lock:
            file = held.enter_context(open(context.lock, "a", encoding="ascii"))
            fcntl.flock(file, fcntl.LOCK_EX)
        server = Server(context.server, f"{folder}/data", is_control)
        held.callback(server.stop)
        command = ["taskset", "-c", GENERATOR_CORE, context.loadtest, "voice", *WORKLOADS[workload], "--seconds", LOAD_S]
        command += ["--core", GENERATOR_CORE, "--server", f"127.0.0.1:{server.port}", "--quiet", "--json", f"{folder}/load"]
        load = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL)
        held.callback(load.kill)
        killer = threading.Timer(LIMIT_S, load.kill)
        killer.daemon = True
        killer.start()
        samples = watch(server, load, not is_control)
        end = time.monotonic() - END_S
        killer.cancel()
        if load.wait() != 0:
            raise SystemExit("metrics-cost: the load failed")
        step = json.loads(pathlib.Path(f"{folder}/load").read_text())["outcomes"][0]["measured"]
    steady = [sample for sample in samples if end - COMPARED_S <= sample[0] <= end]
    (first, before, _), (last, after, _) = steady[0], steady[-1]
    return {
        "round": number, "workload": workload, "what": what,
        "pairs": [(on, off) for when, on, off in server.told if end - COMPARED_S <= when <= end],
        "others_ns_per_s": (after - before) / (last - first), "scrapes_per_s": (steady[-1][2] - steady[0][2]) / (last - first),
        "loss": step["loss"], "forwarded_per_s": step["forwarded_per_s"],
    }  # fmt: skip


def told(ratios):
    """Median, and where that of all such is with 95 % likelihood (order statistics); and of how many."""
    ratios = sorted(ratios)
    half = 0.98 * math.sqrt(len(ratios))
    low, high = max(0, math.floor(len(ratios) / 2 - half)), min(len(ratios) - 1, math.ceil(len(ratios) / 2 + half))
    return f"{statistics.median(ratios):.4f} ({ratios[low]:.4f}..{ratios[high]:.4f}, {len(ratios)})"


def table(rounds):
    by = collections.defaultdict(list)
    for result in rounds:
        by[result["workload"], result["what"]].append(result)
    print("Processor time with metrics / without: median (95 % interval, lines of 64 blocks of 8 turns)")
    print(f"| | datagrams a second | µs each, without | recorded and published | control | a scrape, µs | all, scraped each {USUAL_S} s | each second |")
    print("|---|---|---|---|---|---|---|---|")
    for workload in WORKLOADS:
        ours, control = by[workload, "metrics"], by[workload, "control"]
        if not (ours and control):
            continue
        ratios, noise = ([on / off for result in results for on, off in result["pairs"]] for results in (ours, control))
        ns = statistics.median(off for result in ours for _, off in result["pairs"])
        rate = statistics.median(result["forwarded_per_s"] for result in ours)
        idle = statistics.median(result["others_ns_per_s"] for result in control)
        scrape = statistics.median((result["others_ns_per_s"] - idle) / result["scrapes_per_s"] for result in ours)
        whole = [statistics.median(ratios) + scrape / seconds / (rate * ns) for seconds in (USUAL_S, 1)]
        print(f"| {workload} | {rate:.0f} | {ns / 1e3:.2f} | {told(ratios)} | {told(noise)} | {scrape / 1e3:.0f} "
              f"| {whole[0]:.4f} | {whole[1]:.4f} |")  # fmt: skip
    lost = max(result["loss"] for result in rounds)
    print(f"{len(rounds)} rounds of {COMPARED_S} s; most packets lost in one: {100 * lost:.4f} %.")


def main():
    parser = argparse.ArgumentParser()
    for name in ("out", "workloads", "lock", "server", "loadtest"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--rounds", type=int)
    context = parser.parse_args()
    kept = pathlib.Path(context.out) / "rounds.jsonl"
    rounds = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    first = max((result["round"] for result in rounds), default=0) + 1
    for number in range(first, first + context.rounds):
        for workload in context.workloads.split() or WORKLOADS:
            for what in ("metrics", "control"):
                rounds.append(one_round(context, number, workload, what))
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rounds[-1]) + "\n")
                middle = statistics.median(on / off for on, off in rounds[-1]["pairs"])
                print(f"  {number} {workload} {what}: {middle:.4f}", flush=True)
    table(rounds)


if __name__ == "__main__":
    main()
