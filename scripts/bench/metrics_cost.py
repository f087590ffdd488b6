"""Two servers side by side under the same load, for scripts/bench/metrics-cost: the ratio of their processor time.

Not the load (echomesh-loadtest) and not the build. In: two programs. Out: DIR/rounds.jsonl and a table.
Bounds: a round is ended after LIMIT_S; ends its own processes only.
Time is the first column of /proc/PID/task/*/schedstat, nanoseconds on a core, of all threads: of the one that serves
metrics, too. Both loads are fixed and the round is left out if either lost a packet, so time by the same number of
datagrams is what is compared.
"""

import argparse
import collections
import contextlib
import fcntl
import json
import math
import pathlib
import re
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request

SERVER_CORE, GENERATOR_CORE = "0", "1"
LIMIT_S = 40
# Seconds of the load, and of its steady end that is compared; the rest is setting up and taking down.
LOAD_S, COMPARED_S, END_S = 7, 5, 0.8
# Three times as often as Prometheus is usually told to: one scrape in what is compared.
SCRAPE_S = 5.0
SERVED, NOT_SERVED = ["--admin", "127.0.0.1:0"], ["--admin", "off"]
WORKLOADS = {
    "w1": ["--rooms", "10", "--members", "10", "--speakers", "1"],
    "w2": ["--rooms", "10", "--members", "10", "--speakers", "3"],
    "w3": ["--rooms", "1", "--members", "100", "--speakers", "2"],
    "busy": ["--rooms", "60", "--members", "10", "--speakers", "1"],
}
FLAGS = "--address 127.0.0.1 --port 0 --shards 1 --no-pin --speakers-max 0 --connections-per-address 0 "
FLAGS += "--connects-per-second 0 --requests-per-second 0 --password-memory-kib 8 --password-passes 1 --log warn"


def core_ns(pid):
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total


class Server:
    def __init__(self, program, metrics, folder):
        command = ["taskset", "-c", SERVER_CORE, program, "--data-dir", folder, *FLAGS.split()]
        command += SERVED if metrics else NOT_SERVED
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.scraper = None
        self.done = threading.Event()
        for line in self.process.stdout:
            if found := re.search(r"http://\S+/metrics", line):
                self.url = found[0]
            if found := re.match(r"listening on 127\.0\.0\.1:(\d+)", line):
                self.port = found[1]
                break
        else:
            raise SystemExit(f"metrics-cost: {program} did not start")
        if self.url:
            self.scraper = threading.Thread(target=self.scrape)
            self.scraper.start()

    def scrape(self):
        while not self.done.wait(SCRAPE_S):
            urllib.request.urlopen(self.url, timeout=10).read()

    def stop(self):
        self.done.set()
        if self.scraper:
            self.scraper.join()
        self.process.terminate()
        self.process.communicate(timeout=20)


def loads(context, servers, workload, folder):
    """Both loads at once; samples of (time, ns of each server)."""
    running, samples, end = [], [], None
    for place, server in enumerate(servers):
        command = ["taskset", "-c", GENERATOR_CORE, context.loadtest, "voice", *WORKLOADS[workload], "--seconds", LOAD_S]
        command += ["--core", GENERATOR_CORE, "--server", f"127.0.0.1:{server.port}", "--quiet"]
        command += ["--json", f"{folder}/{place}.json"]
        running.append(subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL))
    begun = time.monotonic()
    while any(load.poll() is None for load in running):
        samples.append((time.monotonic(), [core_ns(server.process.pid) for server in servers]))
        if end is None and any(load.poll() is not None for load in running):
            end = samples[-1][0]
        if time.monotonic() - begun > LIMIT_S:
            [load.kill() for load in running]
            raise SystemExit("metrics-cost: a load did not end")
        time.sleep(0.05)
    end = (end or samples[-1][0]) - END_S
    inside = [sample for sample in samples if end - COMPARED_S <= sample[0] <= end]
    (first, before), (last, after) = inside[0], inside[-1]
    steps = [json.loads(pathlib.Path(f"{folder}/{at}.json").read_text())["outcomes"][0]["measured"] for at in (0, 1)]
    return [(after[at] - before[at]) / (last - first) for at in (0, 1)], steps


def one_pair(context, workload, pair, order):
    """Each one's µs a datagram, loss and p99; `order` says which starts first."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as held:
        if context.lock:
            file = held.enter_context(open(context.lock, "a", encoding="ascii"))
            fcntl.flock(file, fcntl.LOCK_EX)
        servers = []
        try:
            servers += [Server(*pair[at], f"{folder}/data{at}") for at in order]
            ns, steps = loads(context, servers, workload, folder)
        finally:
            [server.stop() for server in servers]
    ns, steps = [ns[order.index(at)] for at in (0, 1)], [steps[order.index(at)] for at in (0, 1)]
    us = [ns[at] / 1e3 / steps[at]["forwarded_per_s"] for at in (0, 1)]
    return us, max(step["loss"] for step in steps), [step["latency_us"]["p99"] for step in steps]


def one_round(context, number, workload, what):
    """`what` is ours or the control. Who starts first works up to a tenth more, so each does once: the means count."""
    judged = (context.with_, True) if what == "metrics" else (context.without, False)
    runs = [one_pair(context, workload, [judged, (context.without, False)], order) for order in ([0, 1], [1, 0])]
    us = [math.sqrt(runs[0][0][at] * runs[1][0][at]) for at in (0, 1)]
    return {
        "round": number, "workload": workload, "what": what, "us": us, "ratio": us[0] / us[1],
        "loss": max(loss for _, loss, _ in runs), "p99_us": [p99 for _, _, p99 in runs],
    }  # fmt: skip


def spread(values, digits=3):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def table(rounds):
    by = collections.defaultdict(list)
    for result in rounds:
        if result["loss"] == 0:
            by[result["workload"], result["what"]].append(result)
    print("| | µs a datagram without | with | with / without | control, same build twice | rounds |")
    print("|---|---|---|---|---|---|")
    for workload in WORKLOADS:
        ours, control = by[workload, "metrics"], by[workload, "control"]
        if ours and control:
            without, with_ = ([result["us"][at] for result in ours] for at in (1, 0))
            ratios, noise = ([result["ratio"] for result in results] for results in (ours, control))
            print(f"| {workload} | {spread(without, 2)} | {spread(with_, 2)} | {spread(ratios)} | {spread(noise)} | {len(ours)}, {len(control)} |")
    ours = [result["ratio"] for results in by.values() for result in results if result["what"] == "metrics"]
    control = [result["ratio"] for results in by.values() for result in results if result["what"] == "control"]
    print(f"All workloads: with / without {spread(ours)}, control {spread(control)}; "
          f"means {statistics.mean(ours):.4f}, {statistics.mean(control):.4f}; {len(ours)} and {len(control)} rounds; "
          f"{sum(result['loss'] > 0 for result in rounds)} left out for a lost packet.")  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    for name in ("out", "workloads", "lock", "with", "without", "loadtest"):
        parser.add_argument(f"--{name}", dest="with_" if name == "with" else name)
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
                print(f"  {number} {workload} {what}: {rounds[-1]['ratio']:.4f}", flush=True)
    table(rounds)


if __name__ == "__main__":
    main()
