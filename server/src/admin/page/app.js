// The admin page: asks the server for its state once a second while it is looked at, and shows it.
// Names and texts of users reach the document as text alone (textContent), never as HTML.
"use strict";

const POLL_MS = 1000;        // between two looks
const ANSWER_MS = 6000;      // longest wait for a state
const HISTORY = 60;          // looks that the small curves show
const LOG_MAX = 500;         // lines kept on the page
const TOKEN = "echomesh-token";
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);

// Elements

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function mark(element, name, on) {
  element.classList.toggle(name, Boolean(on));
}

// An element that knows its parts.
function assemble(element, parts) {
  element.parts = parts;
  return element;
}

// One child for each item, in their order; children stay the same elements, so that focus and scrolling stay.
function sync(parent, items, key, create, update) {
  const known = parent.known ??= new Map();
  const wanted = new Set(items.map(key));
  for (const [id, element] of known) {
    if (!wanted.has(id)) {
      element.remove();
      known.delete(id);
    }
  }
  let before = parent.firstElementChild;
  for (const item of items) {
    let element = known.get(key(item));
    if (!element) {
      element = create(item);
      known.set(key(item), element);
    }
    element.item = item;
    update(element, item);
    if (element === before) before = before.nextElementSibling;
    else parent.insertBefore(element, before);
  }
}

// Figures

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const hundredth = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

const count = (value) => whole.format(value);
const rate = (value) => (value === null ? "–" : (value > 0 && value < 9.95 ? tenth : whole).format(value));

function bytes(value) {
  if (value < 1 << 20) return `${count(value / 1024)} KiB`;
  if (value < 1 << 30) return `${count(value / (1 << 20))} MiB`;
  return `${tenth.format(value / (1 << 30))} GiB`;
}

function age(ms) {
  const minutes = Math.floor(ms / 60000);
  if (minutes < 1) return `${Math.floor(ms / 1000)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const words = (reason) => reason.replaceAll("_", " ");
const some = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

// The server

let token = localStorage.getItem(TOKEN) ?? "";

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const headers = { "X-EchoMesh-Token": token, ...options.headers };
  const response = await fetch(path, { ...options, headers, cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS * 2) });
  const answer = await response.json().catch(() => ({ message: `the server answers ${response.status}` }));
  if (!response.ok) throw new Refused(response.status, answer.message);
  return answer;
}

function post(path, body) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

// Logging in and out

function showLogin(message = "") {
  localStorage.removeItem(TOKEN);
  token = "";
  last = null;
  logAfter = 0;
  $("log").replaceChildren();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  $("board").hidden = true;
  $("login").hidden = false;
  document.title = "EchoMesh";
  say($("login-message"), message);
  $("password").value = "";
  ($("name").value ? $("password") : $("name")).focus();
}

function showBoard() {
  $("login").hidden = true;
  $("board").hidden = false;
}

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("login-button").disabled = true;
  say($("login-message"), "");
  try {
    const answer = await post("/api/login", { name: $("name").value, password: $("password").value });
    token = answer.token;
    localStorage.setItem(TOKEN, token);
    $("password").value = "";
    await look();
  } catch (error) {
    say($("login-message"), error instanceof Refused ? error.message : "the server does not answer: try again");
    $("password").select();
  } finally {
    $("login-button").disabled = false;
  }
});

$("logout-button").addEventListener("click", async () => {
  await post("/api/logout", {}).catch(() => {});
  showLogin("You are logged out.");
});

// Looking

let last = null;          // the state before
let logAfter = 0;
let looking = false;
let missed = 0;
const history = { talking: [], sessions: [], incoming: [], outgoing: [], load: [], memory: [] };

async function look() {
  if (looking || !token) return;
  looking = true;
  try {
    const filter = encodeURIComponent($("filter").value.trim());
    const state = await ask(`/api/state?filter=${filter}&log=${logAfter}`);
    missed = 0;
    showBoard();
    show(state);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) showLogin(error.message);
    else trouble(error);
  } finally {
    looking = false;
  }
}

function trouble(error) {
  missed += 1;
  if (missed < 2) return;
  showBoard();
  const reason = error instanceof Refused ? `: ${error.message}` : "";
  notice(`The server does not answer${reason}. Trying again…`);
  setCondition("not connected", true);
}

setInterval(() => {
  if (document.visibilityState === "visible") look();
}, POLL_MS);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") look();
});
$("filter").addEventListener("input", look);

function notice(text) {
  $("trouble").hidden = !text;
  say($("trouble"), text);
}

function setCondition(text, wrong) {
  say($("condition"), text);
  mark($("condition"), "wrong", wrong);
}

// Showing

function show(state) {
  const { server, you } = state;
  document.title = `${server.name} · EchoMesh`;
  say($("server-name"), server.name);
  say($("server-version"), `EchoMesh ${server.version}`);
  say($("uptime"), age(server.uptime_ms));
  say($("you"), you.name);
  say($("your-role"), you.role);
  $("your-role").className = `tag ${you.role}`;
  $("stop-button").hidden = !you.may_drain;
  const still = state.shards.filter((shard) => shard.stale && !server.stopping).map((shard) => shard.shard);
  const text = still.length > 0 ? `shard ${still.join(", ")} does not answer: see the log` : server.trouble;
  notice(text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "");
  setCondition(server.stopping ? "stopping" : text ? "in trouble" : "serving", server.stopping || text);
  const shards = state.shards.map((shard) => withRates(shard));
  showTiles(state, shards);
  showShards(shards, state.forwarding_bounds_us);
  showRooms(state);
  showSessions(state);
  showReasons("dropped", state, last);
  showReasons("closed", state, last);
  showLog(state);
  last = state;
}

// Rates are of two snapshots; one that has not changed since the last look keeps its rates.
function withRates(shard) {
  const before = last?.shards.find((known) => known.shard === shard.shard);
  const ms = before ? shard.at_ms - before.at_ms : 0;
  if (!before || ms <= 0) {
    const { load = null, incoming = null, outgoing = null, heavyIn = 0, heavyOut = 0, delays = [] } = before ?? {};
    return Object.assign(shard, { load, incoming, outgoing, heavyIn, heavyOut, delays });
  }
  const of = (name) => Math.max(0, shard[name] - before[name]) / ms;
  // Counts of the last ten seconds, by range of delay.
  const delays = [...before.delays, before.forwarding].slice(-10);
  return Object.assign(shard, {
    load: of("used_us") / 10, incoming: of("packets_in") * 1000, outgoing: of("packets_out") * 1000,
    heavyIn: of("bytes_in") * 1000, heavyOut: of("bytes_out") * 1000, delays,
  });
}

// What a share of the packets of the last ten seconds stayed below, ms; null without packets, or beyond all ranges.
function delayBelow(share, shard, bounds) {
  const first = shard.delays[0];
  if (!first) return null;
  const counts = shard.forwarding.map((count, range) => count - first[range]);
  const all = counts.reduce((total, count) => total + count, 0);
  let left = all * share;
  for (let range = 0; range < bounds.length && all > 0; range += 1) {
    if (left <= counts[range]) {
      const from = range ? bounds[range - 1] : 0;
      return (from + (bounds[range] - from) * (left / counts[range])) / 1000;
    }
    left -= counts[range];
  }
  return null;
}

const sum = (shards, name) => shards.reduce((total, shard) => total + shard[name], 0);

function showTiles(state, shards) {
  const known = shards.every((shard) => shard.load !== null);
  const load = Math.max(0, ...shards.map((shard) => shard.load));
  const tiles = [
    ["talking", "Speaking now", sum(shards, "talking"), count],
    ["sessions", "Sessions", sum(shards, "sessions"), count],
    ["incoming", "Packets in", sum(shards, "incoming"), rate, `/s · ${bytes(sum(shards, "heavyIn"))}/s`],
    ["outgoing", "Packets out", sum(shards, "outgoing"), rate, `/s · ${bytes(sum(shards, "heavyOut"))}/s`],
    ["load", "Busiest shard", load, rate, "%"],
    ["memory", "Memory", state.server.memory_bytes, bytes],
  ];
  const create = ([, title]) => {
    const line = draw("polyline", { class: "line" });
    const area = draw("polygon", { class: "area" });
    const curve = draw("svg", { viewBox: `0 0 ${HISTORY - 1} 20`, preserveAspectRatio: "none", "aria-hidden": "true" }, area, line);
    const figure = make("dd");
    return assemble(make("div", { className: "tile" }, make("dt", {}, title), figure, curve), { figure, line, area });
  };
  sync($("tiles"), tiles, ([name]) => name, create, (tile, [name, , value, format, unit]) => {
    const { figure, line, area } = tile.parts;
    const isRate = ["incoming", "outgoing", "load"].includes(name);
    figure.replaceChildren(isRate && !known ? "–" : format(value), ...(unit ? [make("small", {}, ` ${unit}`)] : []));
    const values = history[name];
    if (known || !isRate) values.push(value);
    if (values.length > HISTORY) values.shift();
    const most = Math.max(...values, name === "load" ? 100 : 1) * 1.08;
    const place = (value, at) => `${HISTORY - values.length + at},${(20 - (value / most) * 18).toFixed(2)}`;
    const points = values.map(place);
    line.setAttribute("points", points.join(" "));
    area.setAttribute("points", points.length ? `${HISTORY - values.length},20 ${points.join(" ")} ${HISTORY - 1},20` : "");
  });
}

function cell(label, className = "") {
  return make("td", { className, role: "cell", "data-label": label });
}

function row(...cells) {
  return make("tr", { role: "row" }, ...cells);
}

function showShards(shards, bounds) {
  const columns = ["Packets in", "Packets out", "Delay", "Delay, p99", "Speaking", "Streams", "Sessions", "Connections", "Memory"];
  const delay = (share, shard) => {
    const ms = delayBelow(share, shard, bounds);
    return ms === null ? "–" : `${ms < 0.995 ? hundredth.format(ms) : rate(ms)} ms`;
  };
  const create = (shard) => {
    const meter = make("meter", { min: 0, max: 100, low: 70, high: 90, optimum: 0 });
    meter.setAttribute("aria-label", `Load of shard ${shard.shard}`);
    const load = cell("Load", "wide");
    const text = make("span");
    load.append(make("span", { className: "load" }, meter, text));
    const head = cell("Shard", "head");
    head.append(make("span", { className: "name" }, `Shard ${shard.shard}`));
    const cells = columns.map((label) => cell(label, "number"));
    return assemble(row(head, load, ...cells), { meter, text, cells });
  };
  sync($("shards").tBodies[0], shards, (shard) => shard.shard, create, (element, shard) => {
    const { meter, text, cells } = element.parts;
    meter.value = Math.min(100, shard.load);
    say(text, `${rate(shard.load)} %`);
    const values = [
      `${rate(shard.incoming)} /s`, `${rate(shard.outgoing)} /s`, delay(0.5, shard), delay(0.99, shard), count(shard.talking),
      count(shard.streams), count(shard.sessions), count(shard.connections), bytes(shard.connection_bytes),
    ];
    values.forEach((value, at) => say(cells[at], value));
  });
}

// Rooms

function wave() {
  const bars = [[4, 8, 16], [10, 4, 20], [16, 7, 17]].map(([x, top, bottom]) => draw("path", { d: `M${x + 2} ${top}V${bottom}` }));
  return draw("svg", { class: "wave", viewBox: "0 0 24 24", fill: "none", "aria-hidden": "true" }, ...bars);
}

function showRooms(state) {
  const notes = [some(state.rooms.length + state.rooms_left_out, "room in use", "rooms in use")];
  if (state.rooms_empty) notes.push(`${count(state.rooms_empty)} empty`);
  if (state.rooms_left_out) notes.push(`${count(state.rooms_left_out)} not shown`);
  say($("rooms-note"), notes.join(" · "));
  $("no-rooms").hidden = state.rooms.length > 0;
  say($("no-rooms"), $("filter").value ? "No room and nobody in one has such a name." : "Nobody is in a room.");
  const create = (room) => {
    const tags = ["closed", "hidden"].map((name) => make("span", { className: "tag" }, name));
    const counted = make("span", { className: "count" });
    const people = make("ul");
    const rest = make("p", { className: "empty" });
    const top = make("div", { className: "top" }, make("h3", {}, room.name), ...tags, counted);
    return assemble(make("article", { className: "card room" }, top, people, rest), { tags, counted, people, rest });
  };
  sync($("rooms"), state.rooms, (room) => room.name, create, (card, room) => {
    const { tags, counted, people, rest } = card.parts;
    tags[0].hidden = !room.closed;
    tags[1].hidden = !room.hidden;
    say(counted, `${some(room.members, "person", "people")}, ${count(room.talking)} speaking`);
    sync(people, room.people, (person) => person.session, () => createPerson(room.name), updatePerson);
    const left = room.members - room.people.length;
    rest.hidden = left <= 0;
    say(rest, `and ${count(left)} more`);
  });
}

function createPerson(room) {
  const name = make("span", { className: "name" });
  const role = make("span", { className: "tag" });
  const speaking = make("span", { className: "state talk" }, "speaking");
  const forced = make("span", { className: "state forced" });
  const own = make("span", { className: "state" });
  const figures = make("div", { className: "figures" });
  const more = make("button", { className: "more", type: "button" }, "•••");
  const line = make("div", { className: "line" }, name, role, speaking, forced, own);
  const element = make("li", { className: "person" }, wave(), make("div", { className: "what" }, line, figures), more);
  more.addEventListener("click", () => openAct(element.item, room));
  return assemble(element, { name, role, speaking, forced, own, figures, more });
}

function updatePerson(element, person) {
  const { name, role, speaking, forced, own, figures, more } = element.parts;
  mark(element, "talking", person.talking);
  say(name, person.name);
  showRole(role, person.role);
  speaking.hidden = !person.talking;
  const both = (muted, deafened) => [muted && "muted", deafened && "deafened"].filter(Boolean).join(", ");
  const imposed = both(person.server_muted, person.server_deafened);
  say(forced, imposed && `${imposed} by a moderator`);
  say(own, both(person.muted && !person.server_muted, person.deafened && !person.server_deafened));
  say(figures, person.voice ? voiceText(person.voice) : "no voice");
  more.setAttribute("aria-label", `Act on ${person.name}`);
}

function showRole(element, role) {
  element.className = `tag ${role}`;
  element.hidden = role === "member";
  say(element, role);
}

function voiceText(voice) {
  const parts = [];
  if (voice.uplink_loss !== null) parts.push(`loss ${percent(voice.uplink_loss)} up`);
  if (voice.downlink_loss !== null) parts.push(`${parts.length ? "" : "loss "}${percent(voice.downlink_loss)} down`);
  if (voice.jitter_ms !== null) parts.push(`jitter ${rate(voice.jitter_ms)} ms`);
  if (voice.round_trip_ms !== null) parts.push(`round trip ${rate(voice.round_trip_ms)} ms`);
  if (voice.tunnelled) parts.push("UDP blocked");
  // A line breaks between figures, not within one.
  return parts.length ? parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" · ") : "voice open";
}

const percent = (value) => `${rate(value)} %`;

// Sessions

function showSessions(state) {
  const shown = state.sessions.length;
  const notes = [some(shown + state.sessions_left_out, "session", "sessions")];
  if (state.sessions_left_out) notes.push(`${count(state.sessions_left_out)} not shown: filter for them`);
  say($("sessions-note"), notes.join(" · "));
  $("no-sessions").hidden = shown > 0;
  const create = () => {
    const name = make("span", { className: "name" });
    const role = make("span", { className: "tag" });
    const away = make("span", { className: "tag" }, "away");
    away.title = "Its connection was lost; it may come back within a minute";
    const own = make("span", { className: "tag" }, "this page");
    const head = cell("Name", "head");
    head.append(make("span", {}, name, role, " ", away, own));
    const rooms = cell("Rooms", "wide rooms-of");
    const address = cell("Address", "wide");
    const figures = ["Since", "Loss up", "Loss down", "Jitter", "Round trip"].map((label) => cell(label, "number"));
    const acts = cell("", "acts");
    const more = make("button", { className: "more", type: "button" }, "•••");
    acts.append(more);
    const element = row(head, rooms, address, ...figures, acts);
    more.addEventListener("click", () => openAct(element.item, ""));
    return assemble(element, { name, role, away, own, rooms, address, figures, more });
  };
  sync($("sessions").tBodies[0], state.sessions, (session) => session.session, create, (element, session) => {
    const { name, role, away, own, rooms, address, figures, more } = element.parts;
    say(name, session.name);
    showRole(role, session.role);
    away.hidden = session.connected;
    own.hidden = session.session !== state.you.session;
    say(rooms, session.rooms.join(", ") || "none");
    mark(rooms, "none", session.rooms.length === 0);
    say(address, session.address || "unknown");
    address.title = `Shard ${session.shard}`;
    const [since, up, down, jitter, trip] = figures;
    say(since, age(session.age_ms));
    showLoss(up, session.voice?.uplink_loss);
    showLoss(down, session.voice?.downlink_loss);
    showMs(jitter, session.voice?.jitter_ms);
    showMs(trip, session.voice?.round_trip_ms);
    more.setAttribute("aria-label", `Act on ${session.name}`);
  });
}

function showLoss(element, value) {
  const known = value !== null && value !== undefined;
  say(element, known ? percent(value) : "–");
  mark(element, "none", !known);
  mark(element, "some", known && value >= 2 && value < 10);
  mark(element, "high", known && value >= 10);
}

function showMs(element, value) {
  const known = value !== null && value !== undefined;
  say(element, known ? `${rate(value)} ms` : "–");
  mark(element, "none", !known);
}

// What was dropped and closed

function showReasons(name, state, before) {
  const reasons = state[name];
  $(`no-${name}`).hidden = reasons.length > 0;
  $(name).hidden = reasons.length === 0;
  // Both are of the shards' moments, which the uptime stands for.
  const ms = before ? state.server.uptime_ms - before.server.uptime_ms : 0;
  const create = ({ reason }) => {
    const cells = ["A second", "In all"].map((label) => cell(label, "number"));
    const head = cell("Reason");
    head.append(words(reason));
    return assemble(row(head, ...cells), { cells, mean: undefined });
  };
  sync($(name).tBodies[0], reasons, ({ reason }) => reason, create, (element, reason) => {
    const known = before?.[name].find((other) => other.reason === reason.reason)?.count ?? (before ? 0 : reason.count);
    const now = ms > 0 ? ((reason.count - known) * 1000) / ms : 0;
    // Snapshots and looks are both a second apart: the mean of some hides that they do not fall together.
    const { parts } = element;
    parts.mean = parts.mean === undefined ? now : parts.mean * 0.6 + now * 0.4;
    const shown = parts.mean < 0.05 ? 0 : parts.mean;
    say(parts.cells[0], rate(shown));
    mark(parts.cells[0], "none", shown === 0);
    say(parts.cells[1], count(reason.count));
  });
}

// The log, newest first

const levels = { ERROR: 2, WARN: 1 };

function showLog(state) {
  const log = $("log");
  for (const line of state.log) {
    const time = new Date(line.time_ms);
    const element = make(
      "li", { className: line.level },
      make("time", { dateTime: time.toISOString(), title: time.toLocaleString() }, time.toLocaleTimeString("en-GB")),
      make("span", { className: "level" }, line.level), make("span", { className: "text" }, line.text),
    );
    element.hidden = (levels[line.level] ?? 0) < Number($("log-level").value);
    log.prepend(element);
    logAfter = line.number;
  }
  while (log.childElementCount > LOG_MAX) log.lastElementChild.remove();
  $("no-log").hidden = log.childElementCount > 0;
  say($("log-note"), state.log_missed ? `${count(state.log_missed)} lines left out while others were written` : "newest first");
}

$("log-level").addEventListener("change", () => {
  for (const line of $("log").children) line.hidden = (levels[line.className] ?? 0) < Number($("log-level").value);
});

// Acts

let target = null;

// Of a member in a room, or, without one, of a session.
function openAct(person, room) {
  target = { person, room };
  say($("act-title"), person.name);
  const about = [person.role];
  if (person.address) about.push(person.address);
  if (person.voice) about.push(voiceText(person.voice));
  say($("act-about"), about.join(" · "));
  $("act-room").hidden = !room;
  say($("act-room-name"), room);
  say($("act-mute"), person.server_muted ? "Unmute" : "Mute");
  say($("act-deafen"), person.server_deafened ? "Undeafen" : "Deafen");
  say($("act-message"), "");
  $("reason").value = "";
  $("act").showModal();
}

const acts = {
  "act-mute": ({ person, room }) => ({ act: person.server_muted ? "unmute" : "mute", room, session: person.session }),
  "act-deafen": ({ person, room }) => ({ act: person.server_deafened ? "undeafen" : "deafen", room, session: person.session }),
  "act-kick-room": ({ person, room }) => ({ act: "kick", room, session: person.session }),
  "act-ban-room": ({ person, room }) => ({ act: "ban", room, name: person.name, seconds: Number($("ban-for").value) }),
  "act-kick": ({ person }) => ({ act: "kick", name: person.name }),
  "act-ban": ({ person }) => ({ act: "ban", name: person.name, seconds: Number($("ban-for").value) }),
};

const done = {
  mute: "muted", unmute: "not muted any more", deafen: "deafened", undeafen: "not deafened any more", kick: "kicked", ban: "banned",
};

for (const [id, describe] of Object.entries(acts)) {
  $(id).addEventListener("click", async () => {
    const act = { ...describe(target), reason: $("reason").value.trim() };
    const buttons = [...$("act").querySelectorAll("fieldset button")];
    buttons.forEach((button) => { button.disabled = true; });
    try {
      await post("/api/act", act);
      $("act").close();
      toast(`${target.person.name} is ${done[act.act]}${act.room ? ` in ${act.room}` : ""}.`);
      look();
    } catch (error) {
      if (error instanceof Refused && error.status === 401) showLogin(error.message);
      else say($("act-message"), error instanceof Refused ? error.message : "the server does not answer: try again");
    } finally {
      buttons.forEach((button) => { button.disabled = false; });
    }
  });
}

$("stop-button").addEventListener("click", () => {
  say($("stop-message"), "");
  $("stop").showModal();
});

$("stop-confirm").addEventListener("click", async () => {
  try {
    const answer = await post("/api/drain", {});
    $("stop").close();
    toast(answer.message);
  } catch (error) {
    say($("stop-message"), error instanceof Refused ? error.message : "the server does not answer");
  }
});

let toasting = 0;

function toast(text) {
  clearTimeout(toasting);
  $("toast").replaceChildren(make("p", {}, text));
  toasting = setTimeout(() => $("toast").replaceChildren(), 6000);
}

if (token) look();
else showLogin();
