"""Tells what scripts/bench-peers measured, as Markdown on standard output and in DIR/summary.md.

In: DIR/results.jsonl and DIR/machine.json. A figure is the median of its rounds, with the least and the
most; a ratio is made within each round, and then the median of the ratios is told. What other work
disturbed is left out and counted. Of the floor's ways of sending, each workload has the one that is best in
the median over all rounds: taking the best of each round would pick what luck favoured.
"""

import collections
import json
import pathlib
import statistics
import sys

NAMES = {"floor": "floor", "echomesh": "EchoMesh", "mumble13": "Mumble 1.3", "mumble15": "Mumble 1.5", "umurmur": "uMurmur"}
VOICE = {
    "w1": "10 rooms of 10, 1 speaker each",
    "w2": "20 rooms of 10, 3 speakers each",
    "w3": "1 room of 100, 3 speakers",
    "w4": "1 room of 500, 2 speakers",
}
MOST = {"w5": "100 rooms of 10", "w5big": "4 rooms of 100"}
NOTHING = "–"


def number(value):
    """As many digits as say something."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.4f}"


def spread(values):
    """Median (least..most); of one value, that value."""
    values = [value for value in values if value is not None]
    if not values:
        return NOTHING
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))}..{number(max(values))})"


def table(headings, rows):
    """Markdown; rows without any figure are not shown."""
    rows = [row for row in rows if any(cell != NOTHING for cell in row[1:])]
    if not rows:
        return []
    lines = ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


class Measured:
    """The results that count, by system, kind and workload."""

    def __init__(self, results):
        self.rounds = len({result["round"] for result in results})
        self.left_out = collections.Counter()
        self.failed = [result for result in results if result["kind"] == "failed"]
        self.by = collections.defaultdict(list)
        for result in results:
            if result["kind"] == "failed":
                continue
            if result.get("disturbed"):
                way = f" ({result['variant']})" if "variant" in result else ""
                self.left_out[f"{result['workload']} {NAMES.get(result['system'], result['system'])}{way}"] += 1
            else:
                self.by[result["system"], result["kind"], result["workload"]].append(result)
        self.variant = {}
        for (system, kind, workload), all_ways in list(self.by.items()):
            if system == "floor" and kind in ("voice", "most"):
                self.by[system, kind, workload] = self.best_way(kind, workload, all_ways)
        self.peers = [name for name in NAMES if name not in ("floor", "echomesh") and any(key[0] == name for key in self.by)]
        seals = [result["seal_us"] for result in self.by["floor", "crypto", "crypto"]]
        self.seal_us = statistics.median(seals) if seals else None

    def best_way(self, kind, workload, all_ways):
        """The floor's results of its best variant: least CPU at a given rate, most datagrams without one."""
        ways = collections.defaultdict(list)
        for result in all_ways:
            ways[result["variant"]].append(result)
        field, choose = ("us_per_datagram", min) if kind == "voice" else ("datagrams_per_s", max)
        best = choose(ways, key=lambda way: statistics.median(result[field] for result in ways[way]))
        self.variant[workload] = best
        return ways[best]

    def of(self, system, kind, workload, field):
        """One figure of a system, by round."""
        return {result["round"]: result.get(field) for result in self.by[system, kind, workload]}

    def ratio(self, kind, workload, field, other, added=None):
        """EchoMesh against another, within each round. `added` changes the other's figure first."""
        mine, theirs = self.of("echomesh", kind, workload, field), self.of(other, kind, workload, field)
        added = added or (lambda value: value)
        return spread([mine[at] / added(theirs[at]) for at in mine if mine[at] and theirs.get(at)])


def with_crypto_cost(measured):
    return lambda us: us + measured.seal_us


def with_crypto_rate(measured):
    """Datagrams a second, if each takes the time of a seal more."""
    return lambda per_s: 1e6 / (1e6 / per_s + measured.seal_us)


def cost(measured):
    """CPU per datagram at fixed load."""
    peers, seal = measured.peers, measured.seal_us
    headings = ["workload", "floor", "floor + crypto", "EchoMesh", *(NAMES[peer] for peer in peers)]
    headings += ["EchoMesh / floor", "EchoMesh / floor + crypto", *(f"EchoMesh / {NAMES[peer]}" for peer in peers)]
    rows = []
    for workload, what in VOICE.items():
        us = lambda system: list(measured.of(system, "voice", workload, "us_per_datagram").values())
        row = [f"{workload}: {what}", spread(us("floor"))]
        row += [spread([value + seal for value in us("floor")]) if seal else NOTHING, spread(us("echomesh"))]
        row += [spread(us(peer)) for peer in peers]
        row += [measured.ratio("voice", workload, "us_per_datagram", "floor")]
        added = with_crypto_cost(measured)
        row += [measured.ratio("voice", workload, "us_per_datagram", "floor", added) if seal else NOTHING]
        rows.append(row + [measured.ratio("voice", workload, "us_per_datagram", peer) for peer in peers])
    systems = ["floor", "echomesh", *peers]
    own = []
    for workload in VOICE:
        field = lambda system: "thread_us_per_datagram" if system == "floor" else "process_us_per_datagram"
        own.append([workload, *(spread(measured.of(it, "voice", workload, field(it)).values()) for it in systems)])
    note = "Charged to the server's own process (the floor: thread). At light load this leaves out much of the kernel's work:"
    also = [note, "", *table(["workload", *(NAMES[it] for it in systems)], own)]
    return ["## Server CPU for one datagram, µs", "", *table(headings, rows), *also]


def latency(measured):
    systems = ["echomesh", *measured.peers]
    headings = ["workload", *(f"{NAMES[name]} {which}" for name in systems for which in ("p50", "p99", "p99.9"))]
    headings += [f"p99 EchoMesh / {NAMES[peer]}" for peer in measured.peers]
    rows = []
    for workload in VOICE:
        row = [workload]
        for name in systems:
            row += [spread(measured.of(name, "voice", workload, f"{which}_us").values()) for which in ("p50", "p99", "p999")]
        rows.append(row + [measured.ratio("voice", workload, "p99_us", peer) for peer in measured.peers])
    lines = table(headings, rows)
    rows = []
    for workload in VOICE:
        row = [workload]
        for name in systems:
            loss = [100 * value for value in measured.of(name, "voice", workload, "loss").values()]
            rss = [value / 1024 for value in measured.of(name, "voice", workload, "rss_kib").values() if value]
            row += [spread(loss), spread(rss)]
        rows.append(row)
    also = table(["workload", *(f"{NAMES[name]} {what}" for name in systems for what in ("loss %", "memory MiB"))], rows)
    return ["## Latency one way, µs", "", *lines, *also]


def most(measured):
    """What one core sustains."""
    peers, seal = measured.peers, measured.seal_us
    headings = ["workload", "floor", "floor + crypto", "EchoMesh", *(NAMES[peer] for peer in peers)]
    headings += ["EchoMesh / floor", "EchoMesh / floor + crypto", *(f"EchoMesh / {NAMES[peer]}" for peer in peers)]
    rows, ends = [], []
    for workload, what in MOST.items():
        rate = lambda system: list(measured.of(system, "most", workload, "datagrams_per_s").values())
        added = with_crypto_rate(measured)
        row = [f"{workload}: {what}", spread(rate("floor"))]
        row += [spread([added(value) for value in rate("floor")]) if seal else NOTHING, spread(rate("echomesh"))]
        row += [spread(rate(peer)) for peer in peers]
        row += [measured.ratio("most", workload, "datagrams_per_s", "floor")]
        row += [measured.ratio("most", workload, "datagrams_per_s", "floor", added) if seal else NOTHING]
        rows.append(row + [measured.ratio("most", workload, "datagrams_per_s", peer) for peer in peers])
        for name in ("echomesh", *peers):
            values = lambda field: spread(measured.of(name, "most", workload, field).values())
            end = collections.Counter(measured.of(name, "most", workload, "stopped_by").values())
            end = ", ".join(f"{why} {times}×" for why, times in end.items() if why) or NOTHING
            row = [f"{workload} {NAMES[name]}", values("speakers"), values("us_per_datagram"), values("p99_us")]
            ends.append([*row, values("server_cpu"), values("generator_cpu"), end])
    lines = table(headings, rows)
    headings = ["at its most", "speakers", "µs per datagram", "p99 µs", "server cores", "generator cores", "stopped by"]
    notes = [
        "Loss at most 0.1 % and p99 at most 20 ms; the floor is plain saturation. A ramp stopped by its generator says "
        "nothing about what the server would carry beyond.",
        "",
    ]
    return ["## Most sustained on one core, datagrams to listeners per second", "", *lines, *table(headings, ends), *notes]


def scaling(measured):
    """Two servers that share what one did."""
    def us(system, servers):
        return {it["round"]: it["us_per_datagram"] for it in measured.by[system, "scaling", "scaling"] if it["servers"] == servers}

    rows, scales = [], {}
    for system in ("floor", "echomesh"):
        one, two = us(system, 1), us(system, 2)
        scales[system] = {at: 2 * one[at] / two[at] for at in one if at in two}
        rows.append([NAMES[system], spread(one.values()), spread(two.values()), spread(scales[system].values())])
    ratio = spread([scales["echomesh"][at] / scales["floor"][at] for at in scales["echomesh"] if at in scales["floor"]])
    headings = ["", "µs per datagram, one", "two", "two carry, times one"]
    note = (
        "72,000 datagrams a second in rooms of 10, by one shard or floor and by two, time of their own threads; the two "
        f"cores carry the generator too. EchoMesh's scaling by the floor's: {ratio}."
    )
    return ["## Two shards on two cores", "", *table(headings, rows), note, ""]


def control(measured):
    """Logins and chat: each system's own ways, side by side."""
    lines = []
    for title, kind, unit in (("Logins", "logins", "logins/s"), ("Text to a room of 100", "chat", "deliveries/s")):
        by_name = collections.defaultdict(list)
        for (system, its_kind, _), results in measured.by.items():
            if its_kind == kind:
                for result in results:
                    by_name[system, result["name"]].append(result)
        rows = []
        for (system, name), results in sorted(by_name.items()):
            of = lambda field, scale: spread([result[field] * scale for result in results if result[field] is not None])
            row = [f"{NAMES[system]}: {name}", of("per_s", 1), of("p50_us", 1e-3), of("p99_us", 1e-3)]
            rows.append([*row, of("server_cpu", 100)])
        lines_of_it = table(["", unit, "p50 ms", "p99 ms", "server CPU %"], rows)
        if lines_of_it:
            lines += [f"## {title}", "", *lines_of_it]
    if any("Text to" in line for line in lines):
        lines += ["EchoMesh acknowledges a line only when it is on disk; Mumble and uMurmur pass it on and keep nothing.", ""]
    if any("Logins" in line for line in lines):
        lines += [
            "The peers' logins are of users without an account: TLS and the state of the server, no password hashed. "
            "EchoMesh's `password` hashes one (Argon2id, meant to be slow); `token` logs in to one by device token; `handshake` is TLS alone.",
            "",
        ]
    return lines


def about(measured, machine):
    ways = sorted({f"{workload} {way}" for workload, way in measured.variant.items()})
    lines = [
        "# EchoMesh beside its peers",
        "",
        f"{machine['date']}, commit {machine['commit']}; {machine['processor']}, {machine['cores']} cores, Linux "
        f"{machine['kernel']}; loopback, server on core 0, generator on core 1; {measured.rounds} round{'' if measured.rounds == 1 else 's'}, systems in "
        "turn on each workload. Median (least..most); ratios are medians of those within each round.",
        "",
        "Server CPU is all time that the server's core was not idle, the kernel's network work included. Voice is 50 packets "
        "a second of each speaker, 100 bytes of payload, encrypted for each listener; EchoMesh runs one shard and forwards "
        "every speaker, as the peers do. The floor sends the same number of plain datagrams of 110 bytes by "
        "the way that costs it least; \"+ crypto\" adds "
        + (f"one AES-128-GCM seal of as many bytes, {measured.seal_us:.3f} µs here." if measured.seal_us else "a seal, not measured here."),
        "",
    ]
    if ways:
        lines += [f"The floor's way: {', '.join(ways)}.", ""]
    if machine.get("mumble13") and "mumble13" in measured.peers:
        lines += [f"Mumble 1.3 is Debian's mumble-server {machine['mumble13']}.", ""]
    for why in machine["missing"]:
        lines += [f"Missing: {why}.", ""]
    return lines


def ending(measured):
    lines = []
    if measured.left_out:
        told = ", ".join(f"{what} {times}" for what, times in sorted(measured.left_out.items()))
        lines += [f"Left out because other work was on the cores or the generator at its limit: {told}.", ""]
    for result in measured.failed:
        system = NAMES.get(result["system"], result["system"])
        lines += [f"Not measured: {result['workload']} {system}, round {result['round']}: {result['why']}", ""]
    return lines


def main():
    folder = pathlib.Path(sys.argv[1])
    file = folder / "results.jsonl"
    if not file.exists():
        raise SystemExit(f"summary: {file} is not there; run scripts/bench-peers first, or name its --out folder")
    measured = Measured([json.loads(line) for line in file.read_text().splitlines()])
    machine = json.loads((folder / "machine.json").read_text())
    lines = about(measured, machine)
    for part in (cost, latency, most, scaling, control):
        told = part(measured)
        # A heading without a table has nothing to tell.
        lines += told if any(line.startswith("|") for line in told) else []
    lines += ending(measured)
    text = "\n".join(lines).rstrip() + "\n"
    (folder / "summary.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
