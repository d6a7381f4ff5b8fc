// Reads the API every two seconds and draws it. Only shows: nothing here can change the gateway.
"use strict";

const EVERY_MS = 2000;
const HISTORY_EVERY_MS = 10000;
const SVG = "http://www.w3.org/2000/svg";
const MAX_BUSIEST = 8;
const MAX_SAMPLES = 150;
const WIDEST_LETTER = 7.5;

const view = new URLSearchParams(location.hash.slice(1));
let before = null;
let order = { key: view.get("sort") ?? "rate", reversed: view.get("reversed") === "1" };
const recent = new Map();

const $ = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function drawn(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function short(value, unit = "") {
  if (value === null || value === undefined) return "–";
  const steps = ["", "k", "M", "G", "T"];
  let step = 0;
  while (Math.abs(value) >= 1000 && step < steps.length - 1) { value /= 1000; step += 1; }
  const digits = step === 0 ? (Number.isInteger(value) || value >= 100 ? 0 : 1) : value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)}${unit || step ? " " : ""}${steps[step]}${unit}`;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([length]) => seconds >= length);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).map(([length, unit], index, all) => {
    const whole = index === 0 ? seconds : seconds % all[0][0];
    return [Math.floor(whole / length), unit];
  }).filter(([count], index) => index === 0 || count > 0).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" }, cache: "no-store" });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error?.message ?? `${path}: ${answer.status}`);
  return body;
}

// The change of a counter a second since the last look; null before there is one, or after a restart.
function rate(now, then, seconds) {
  if (now === undefined || then === undefined || now < then || seconds <= 0) return null;
  return (now - then) / seconds;
}

function remember(name, value) {
  const values = recent.get(name) ?? [];
  if (value !== null) values.push(value);
  if (values.length > MAX_SAMPLES) values.shift();
  recent.set(name, values);
  return values;
}

function curve(values, width = 300, height = 60) {
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  if (values.length < 2) return picture;
  const most = Math.max(...values, 1e-9);
  const points = values.map((value, index) =>
    `${(index * width / (values.length - 1)).toFixed(1)},${(height - 2 - value / most * (height - 6)).toFixed(1)}`);
  picture.append(
    drawn("polygon", { class: "area", points: `0,${height} ${points.join(" ")} ${width},${height}` }),
    drawn("polyline", { class: "curve", points: points.join(" ") }));
  return picture;
}

function tile(title, text, values, kind = "") {
  return element("div", { class: "tile" }, element("span", { class: "faint" }, title),
    element("b", kind ? { class: kind } : {}, text), ...(values ? [curve(values)] : []));
}

function table(target, columns, rows) {
  const head = element("tr", {}, ...columns.map((column) => {
    const cell = element("th", column.number ? { class: "number", scope: "col" } : { scope: "col" });
    if (!column.sort) { cell.append(column.title); return cell; }
    const mark = order.key === column.sort ? (order.reversed ? " ▲" : " ▼") : "";
    const button = element("button", { type: "button" }, column.title + mark);
    button.addEventListener("click", () => {
      order = { key: column.sort, reversed: order.key === column.sort && !order.reversed };
      keep();
      refresh();
    });
    cell.append(button);
    return cell;
  }));
  const body = rows.map((row) => element("tr", {}, ...columns.map((column) => {
    const value = column.cell(row);
    const cell = element("td", column.number ? { class: "number" } : {});
    cell.append(value instanceof Node ? value : String(value ?? "–"));
    return cell;
  })));
  const focused = target.contains(document.activeElement) ? document.activeElement.textContent.replace(/ [▲▼]$/, "") : null;
  target.replaceChildren(element("thead", {}, head), element("tbody", {}, ...body));
  if (focused !== null) {
    [...target.querySelectorAll("button")].find((button) => button.textContent.startsWith(focused))?.focus();
  }
}

// What the address says, so that a view can be bookmarked and sent to a colleague.
function keep() {
  const words = new URLSearchParams();
  if ($("filter").value) words.set("filter", $("filter").value);
  if ($("down").checked) words.set("down", "1");
  if (order.key !== "rate") words.set("sort", order.key);
  if (order.reversed) words.set("reversed", "1");
  history.replaceState(null, "", words.size ? `#${words}` : location.pathname);
}

function header(now) {
  $("node").textContent = now.status.node;
  document.title = `${now.status.node} – Penstock`;
  $("about").textContent = `version ${now.status.version}, up for ${duration(now.status.uptime_s)}, process ${now.status.pid}, `
    + `${now.status.config_source}`;
  $("ready").textContent = now.ready.ready ? "ready" : "not ready";
  $("ready").className = `badge ${now.ready.ready ? "good" : "bad"}`;
  const lines = [...now.ready.reasons, ...now.status.attention];
  $("attention").replaceChildren(...lines.map((line) => element("li", {}, line)));
}

function tiles(now, seconds) {
  const last = before?.status;
  const received = rate(now.status.rx_packets, last?.rx_packets, seconds);
  const sent = rate(now.status.tx_packets, last?.tx_packets, seconds);
  const dropped = rate(now.status.dropped, last?.dropped, seconds);
  const { up, total } = now.status.tunnels;
  $("tiles").replaceChildren(
    tile("received", short(received, "pkt/s"), remember("rx", received)),
    tile("sent", short(sent, "pkt/s"), remember("tx", sent)),
    tile("dropped", short(dropped, "pkt/s"), remember("drops", dropped), dropped > 0 ? "warn" : ""),
    tile("tunnels up", `${up} of ${total}`, null, up < total ? "warn" : "good"),
    tile("ports up", `${now.status.ports.up} of ${now.status.ports.total}`, null,
      now.status.ports.up < now.status.ports.total ? "bad" : "good"),
    tile("routes", short(now.status.routes)));
}

function topology(now, seconds) {
  const workers = now.cores.rows.filter((core) => core.role === "worker");
  const busiest = [...now.tunnels.rows].sort((a, b) => b.rate - a.rate || name(a).localeCompare(name(b))).slice(0, MAX_BUSIEST);
  const rows = Math.max(now.ports.rows.length, workers.length, busiest.length + 1, 2);
  const height = rows * 44 + 16;
  const middle = (index, count) => (index + 0.5) * (height / count);
  const picture = $("topology");
  picture.setAttribute("viewBox", `0 0 1000 ${height}`);
  const links = [], boxes = [];
  const box = (x, y, width, title, detail, kind) => {
    const fits = Math.floor((width - 20) / WIDEST_LETTER);
    boxes.push(drawn("g", {}, drawn("title", {}, title),
      drawn("rect", { class: `box ${kind}`, x, y: y - 18, width, height: 36, rx: 5 }),
      drawn("text", { x: x + 10, y: y - 3 }, title.length > fits ? `${title.slice(0, fits - 1)}…` : title),
      drawn("text", { class: "small", x: x + 10, y: y + 12 }, detail)));
  };
  const link = (x1, y1, x2, y2, weight) => links.push(drawn("path", {
    class: "link", d: `M${x1},${y1} C${(x1 + x2) / 2},${y1} ${(x1 + x2) / 2},${y2} ${x2},${y2}`,
    "stroke-width": (1 + Math.min(6, weight)).toFixed(1) }));
  const place = new Map();
  now.ports.rows.forEach((port, index) => {
    const y = middle(index, now.ports.rows.length);
    place.set(port.name, y);
    const last = before?.ports.rows.find((other) => other.name === port.name)?.counters;
    const packets = rate(port.counters.rx_packets, last?.rx_packets, seconds);
    const lost = port.counters.rx_missed + port.counters.rx_no_buffer;
    box(20, y, 240, `${port.name}${port.tenant ? ` (${port.tenant})` : ""}`,
      `${port.link.up ? "link" : "no link"}, ${short(packets, "pkt/s")} in${lost ? `, ${short(lost)} missed` : ""}`,
      port.link.up ? (lost ? "warn" : "") : "bad");
  });
  workers.forEach((core, index) => {
    const y = middle(index, workers.length);
    const last = before?.cores.rows.find((other) => other.core === core.core);
    const packets = rate(core.rx_packets, last?.rx_packets, seconds);
    box(400, y, 200, `core ${core.core}`, `${short(packets, "pkt/s")}, ${core.idle_share === null ? "–" : Math.round(core.idle_share * 100)} % idle`,
      core.generation !== null && core.generation < core.current_generation ? "warn" : "");
    for (const queue of core.queues) {
      const from = place.get(queue.replace(/\/\d+$/, ""));
      if (from !== undefined) link(260, from, 400, y, Math.log10(1 + (packets ?? 0)));
    }
  });
  busiest.forEach((tunnel, index) => {
    const y = middle(index, busiest.length + 1);
    box(740, y, 240, name(tunnel), `${tunnel.state}, ${short(tunnel.rate, "pkt/s")}`, kind(tunnel.state) === "good" ? "" : kind(tunnel.state));
    link(600, height / 2, 740, y, Math.log10(1 + tunnel.rate));
  });
  const others = now.tunnels.total - busiest.length;
  if (others > 0) boxes.push(drawn("text", { class: "small", x: 750, y: middle(busiest.length, busiest.length + 1) + 4 }, `and ${others} more`));
  picture.replaceChildren(...links, ...boxes);
}

function name(tunnel) { return `${tunnel.tenant}/${tunnel.name}`; }
function kind(state) { return { up: "good", down: "bad" }[state] ?? "warn"; }

function cores(now, seconds) {
  table($("cores"), [
    { title: "core", cell: (core) => `${core.core} ${core.role}` },
    { title: "queues", cell: (core) => core.queues.join(" ") },
    { title: "in", number: true, cell: (core) => short(core.rate, "pkt/s") },
    { title: "cycles a packet", number: true, cell: (core) => core.cycles_per_packet === null ? "–" : Math.round(core.cycles_per_packet) },
    { title: "busy", cell: (core) => core.idle_share === null ? "–" : bar(1 - core.idle_share) },
    { title: "buffers", cell: (core) => core.pool === null ? "–" : bar(core.pool.in_use / Math.max(1, core.pool.size)) },
    { title: "dropped", number: true, cell: (core) => short(core.dropped) },
    { title: "longest turn", number: true, cell: (core) => core.max_loop_us === null ? "–" : `${Math.round(core.max_loop_us)} µs` },
  ], now.cores.rows.map((core) => ({
    ...core, rate: rate(core.rx_packets, before?.cores.rows.find((other) => other.core === core.core)?.rx_packets, seconds) })));
}

function bar(share) {
  const percent = Math.round(Math.max(0, Math.min(1, share)) * 100);
  const inner = element("i");
  inner.style.width = `${percent}%`;
  return element("span", { title: `${percent} %` }, element("span", { class: "bar" }, inner), ` ${percent} %`);
}

const KEYS = {
  rate: (row) => row.rate, bits: (row) => row.bits, name, drops: (row) => row.drops, state: (row) => row.state, mtu: (row) => row.mtu,
};

function tunnels(now) {
  const wanted = $("filter").value.trim().toLowerCase();
  const rows = now.tunnels.rows.filter((row) => (!$("down").checked || row.state !== "up")
    && (!wanted || [name(row), row.remote, row.local, row.moved_to, row.type].some((text) => String(text ?? "").toLowerCase().includes(wanted))));
  const key = KEYS[order.key] ?? KEYS.rate;
  // Numbers begin with the largest, words with the first of the alphabet.
  rows.sort((a, b) => {
    const [left, right] = [key(a), key(b)];
    const by = typeof left === "string" ? left.localeCompare(right) : right - left;
    return (order.reversed ? -by : by) || name(a).localeCompare(name(b));
  });
  const beyond = now.tunnels.total > now.tunnels.rows.length ? `, the first ${now.tunnels.rows.length} by name` : "";
  $("shown").textContent = `${rows.length} of ${now.tunnels.total}${beyond}`;
  table($("tunnels"), [
    { title: "state", sort: "state", cell: (row) => element("span", { class: kind(row.state), title: row.reason ?? "" }, row.state) },
    { title: "tunnel", sort: "name", cell: name },
    { title: "type", cell: (row) => row.type },
    { title: "remote", cell: (row) => row.moved_to ?? row.remote ?? "any" },
    { title: "packets", sort: "rate", number: true, cell: (row) => short(row.rate, "pkt/s") },
    { title: "bits", sort: "bits", number: true, cell: (row) => short(row.bits, "bit/s") },
    { title: "MTU", sort: "mtu", number: true, cell: (row) => row.mtu },
    { title: "MSS", number: true, cell: (row) => row.mss_v4 ?? "–" },
    { title: "dropped", sort: "drops", number: true, cell: (row) => short(row.drops) },
    { title: "why", cell: (row) => row.reason ?? "" },
  ], rows);
}

function drops(now, seconds) {
  const rows = now.drops.rows.filter((row) => row.packets > 0).map((row) => ({
    ...row, rate: rate(row.packets, before?.drops.rows.find((other) => other.reason === row.reason)?.packets, seconds) }));
  rows.sort((a, b) => (b.rate ?? 0) - (a.rate ?? 0) || b.packets - a.packets);
  table($("drops"), [
    { title: "reason", cell: (row) => element("code", {}, row.reason) },
    { title: "now", number: true, cell: (row) => short(row.rate, "pkt/s") },
    { title: "in all", number: true, cell: (row) => short(row.packets) },
    { title: "what it means", cell: (row) => row.help },
  ], rows);
}

function past(history) {
  const plot = (title, values, unit) => {
    const most = values.length ? Math.max(...values) : 0;
    return element("div", { class: "plot" }, element("span", { class: "faint" }, `${title}, at most ${short(most, unit)}`),
      curve(values, 600, 80));
  };
  const rates = (key) => history.samples.slice(1).map((sample, index) =>
    rate(sample[key], history.samples[index][key], history.samples[index].age_s - sample.age_s) ?? 0);
  $("plots").replaceChildren(
    plot("received", rates("rx_packets"), "pkt/s"),
    plot("dropped", rates("dropped"), "pkt/s"),
    plot("tunnels not up", history.samples.map((sample) => sample.tunnels.total - sample.tunnels.up), ""));
  const width = 1000, span = history.span_s;
  $("ribbons").replaceChildren(...history.tunnels.map((tunnel) => {
    const picture = drawn("svg", { viewBox: `0 0 ${width} 16`, preserveAspectRatio: "none", role: "img" });
    tunnel.states.forEach((state, index) => {
      const from = width * (1 - Math.min(1, state.age_s / span));
      const to = width * (1 - Math.min(1, (tunnel.states[index + 1]?.age_s ?? 0) / span));
      picture.append(drawn("rect", { class: state.state, x: from.toFixed(1), y: 0, width: Math.max(1, to - from).toFixed(1), height: 16 },
        drawn("title", {}, `${state.state} since ${duration(state.age_s)}${state.reason ? `: ${state.reason}` : ""}`)));
    });
    return element("div", { class: "ribbon" }, element("span", {}, `${tunnel.tenant}/${tunnel.tunnel}`), picture);
  }));
}

async function refresh() {
  try {
    const at = performance.now();
    const [status, ready, ports, allCores, allTunnels, allDrops] = await Promise.all([
      "v1/show/status", "v1/show/ready", "v1/show/ports", "v1/show/cores", "v1/show/tunnels", "v1/show/drops"].map(ask));
    const seconds = before === null ? 0 : (at - before.at) / 1000;
    const last = new Map((before?.tunnels.rows ?? []).map((row) => [name(row), row]));
    for (const row of allTunnels.rows) {
      const then = last.get(name(row));
      row.rate = (rate(row.encap.packets, then?.encap.packets, seconds) ?? 0) + (rate(row.decap.packets, then?.decap.packets, seconds) ?? 0);
      row.bits = 8 * ((rate(row.encap.bytes, then?.encap.bytes, seconds) ?? 0) + (rate(row.decap.bytes, then?.decap.bytes, seconds) ?? 0));
    }
    const now = { at, status, ready, ports, cores: allCores, tunnels: allTunnels, drops: allDrops };
    header(now);
    tiles(now, seconds);
    topology(now, seconds);
    cores(now, seconds);
    tunnels(now);
    drops(now, seconds);
    // A click asks again at once; what is compared with stays until it is old enough for a rate.
    if (before === null || seconds * 1000 >= EVERY_MS / 2) before = now;
    $("stale").hidden = true;
  } catch (error) {
    $("stale").hidden = false;
    $("stale").textContent = `The gateway does not answer (${error.message}); what is below is old.`;
  }
}

async function refreshHistory() {
  try {
    past(await ask("v1/show/history"));
  } catch {
    // `refresh` says that the gateway does not answer.
  }
}

async function forever(work, every) {
  for (;;) {
    await work();
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}

$("filter").value = view.get("filter") ?? "";
$("down").checked = view.get("down") === "1";
for (const control of [$("filter"), $("down")]) control.addEventListener("input", () => { keep(); refresh(); });
forever(refresh, EVERY_MS);
forever(refreshHistory, HISTORY_EVERY_MS);
