"use strict";
// Shows the samples of the server: `past` once, then a `sample` each second. The server computes all figures.

const state = { about: {}, past: [], tens: [], marks: [], sample: null, window: "10", span: 300 };
const byId = (id) => document.getElementById(id);

// ---------------------------------------------------------------- numbers for people

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const { number, bytes, share: percent } = charts.format;
const speed = charts.format["bytes/s"];
const time = (seconds) => (seconds ? charts.format.seconds(seconds) : "–");

function age(seconds) {
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  const found = units.find(([size]) => seconds >= size);
  return found ? `${Math.floor(seconds / found[0])} ${found[1]}` : `${Math.floor(seconds)} s`;
}

// Return a time in seconds since 1970 as date and time of the reader's clock (ISO 8601).
function iso(seconds) {
  const at = new Date(seconds * 1000);
  return `${at.getFullYear()}-${String(at.getMonth() + 1).padStart(2, "0")}-${String(at.getDate()).padStart(2, "0")} ${charts.format.clock(seconds)}`;
}

// ---------------------------------------------------------------- figures

function show(name, text, value) {
  for (const place of document.querySelectorAll(`[data-figure="${CSS.escape(name)}"]`)) {
    place.textContent = text;
    place.dataset.value = value;
  }
}

function showFigures() {
  const { sample } = state;
  const over = sample.windows[state.window];
  const failed = (over.answers["5xx"] || 0) + over.aborted;
  const share = over.tps + over.aborted ? failed / (over.tps + over.aborted) : 0;
  for (const name of ["tps", "qps"]) show(name, number(over[name]), over[name]);
  for (const name of ["users", "http2_users", "in_progress", "queue"]) show(name, whole.format(sample[name]), sample[name]);
  for (const name of ["p50", "p90", "p99", "p99.9", "max"]) show(name, time(over[name]), over[name]);
  for (const name of ["bytes_in", "bytes_out"]) show(name, speed(over[name]), over[name]);
  show("app", time(over.app), over.app);
  const errors = [share ? `${percent(share)} failed` : "none failed", over.shed && `${number(over.shed)}/s refused`];
  show("errors", errors.filter(Boolean).join(", "), share);
  show("cpu", percent(over.cpu), over.cpu);
  show("cost", over.tps ? time(over.cpu / over.tps) : "–", over.tps ? over.cpu / over.tps : 0);
  show("memory", bytes(sample.memory), sample.memory);
  for (const name of ["held", "held_limit", "spool"]) show(name, bytes(sample[name]), sample[name]);
  const ended = sample.totals.held_refused + sample.totals.held_cut;
  show("held_ended", ended ? `${whole.format(ended)} ended` : "none ended", ended);
  document.title = `${number(over.tps)} TPS · allcomers`;
}

function showServer() {
  const { about, sample } = state;
  const unready = sample.stage === "serving" && !sample.ready;
  const first = sample.workers.find((worker) => worker.model) || {};
  const stage = sample.stage === "serving" && sample.reload.state === "running" ? "reloading" : sample.stage;
  byId("stage").textContent = unready ? "nobody answers" : stage;
  byId("stage").dataset.stage = unready ? "unready" : stage;
  const ready = sample.workers.filter((worker) => worker.state === "ready").length;
  const range = sample.most ? ` (${sample.least} to ${sample.most} by demand)` : "";
  const workers = `${ready} of ${sample.wanted} worker${sample.wanted > 1 ? "s" : ""}${range}`;
  const calls = { inline: "calls inline", pool: `calls on ${about.threads} threads`, auto: "calls inline, unless one lasts" };
  byId("what").textContent = [about.bind.join(", "), first.model, workers, calls[first.calls]].filter(Boolean).join(" · ");
  byId("model").textContent = first.model || "Model";
  const moves = sample.windows[state.window].hand_overs;
  const how = [about.models[first.model], moves && `${number(moves)} hand-overs/s`];
  byId("how").textContent = how.filter(Boolean).join(" · ");
  byId("about").textContent =
    `allcomers ${about.version} (${about.build}), Python ${about.python}, ${about.cores} cores, process ${about.pid}, ` +
    `since ${iso(about.since)}`;
}

function showReload() {
  const { reload, wanted, workers, time } = state.sample;
  const began = charts.format.clock(time - reload.age);
  const starts = workers.some((worker) => worker.state === "starting") ? "; a new worker starts" : "";
  const text = {
    running: `Reloading for ${age(reload.age)}: ${reload.left} of ${wanted} still to be replaced${starts}.`,
    "given up": `The reload of ${began} was given up: the new worker ended before it served. The old ones stay; the log has the reason.`,
    refused: `The reload of ${began} was refused: an option is wrong. All stays as it was; the log has the reason.`,
  }[reload.state];
  byId("reload").hidden = !text;
  byId("reload").dataset.state = reload.state;
  byId("reload").textContent = text || "";
}

function showScaled() {
  const { least, most, scaled, wanted, time } = state.sample;
  const reason = {
    signal: "a signal told so", busy: "the workers were busy", waiting: "calls waited", idle: "the others carry the load",
  }[scaled.reason];
  const when = charts.format.clock(time - scaled.age);
  const last = reason ? `; one ${scaled.more ? "more" : "less"} at ${when}: ${reason}` : "";
  byId("work").dataset.range = String(Boolean(most));
  charts.made.work.u.setSeries(3, { show: Boolean(most) });
  byId("scaled").textContent = most ? `${wanted} wanted, ${least} to ${most} by demand${last}` : "";
}

function row(...cells) {
  const made = document.createElement("tr");
  for (const [text, kind] of cells) {
    const cell = made.insertCell();
    cell.textContent = text;
    if (kind) cell.dataset.state = kind;
  }
  return made;
}

function showWorkers() {
  const cells = (worker) => [
    [worker.pid], [worker.state === "silent" ? `no answer for ${age(worker.silent)}` : worker.state, worker.state],
    [age(worker.age)], [whole.format(worker.users)], [whole.format(worker.in_progress)], [number(worker.tps)],
    [time(worker.p50)], [time(worker.p99)], [time(worker.lag)], [percent(worker.cpu)], [bytes(worker.memory)],
  ];
  const rows = state.sample.workers.map((worker) => row(...cells(worker)));
  byId("workers").replaceChildren(...rows);
}

function showFailures() {
  const { windows, totals } = state.sample;
  const over = windows[state.window];
  const rows = Object.entries(totals.statuses).map(([status, count]) => [status, over.statuses[status] || 0, count]);
  if (totals.aborted) rows.push(["aborted: the client left", over.aborted, totals.aborted]);
  if (totals.shed) rows.push(["refused: overload", over.shed, totals.shed]);
  if (!rows.length) rows.push(["none since the start", 0, 0]);
  byId("statuses").replaceChildren(...rows.map(([name, rate, count]) => row([name], [rate ? `${number(rate)}/s` : ""], [count ? whole.format(count) : ""])));
}

function showMarks() {
  byId("marks").replaceChildren(...state.marks.slice(-50).reverse().map(({ time, kind, text }) => {
    const made = item("li", text, time);
    made.dataset.kind = kind;
    return made;
  }));
}

function item(tag, text, at) {
  const made = document.createElement(tag);
  const when = document.createElement("time");
  when.textContent = iso(at);
  made.append(when, text);
  return made;
}

function showRoutes() {
  const routes = state.sample.routes || [];
  byId("by-route").hidden = !routes.length;
  byId("routes").replaceChildren(...routes.map((one) => row(
    [one.route], [whole.format(one.count)], [whole.format(one.failures)], [number(one.tps)], [time(one.mean)], [time(one.p50)], [time(one.p99)],
  )));
}

// The last errors, each with its stack as soon as it is opened; those that are open stay so.
function showErrors() {
  const errors = state.sample.errors || [];
  const key = (one) => `${one.worker} ${one.pid} ${one.time} ${one.message}`;
  byId("last-errors").hidden = !errors.length;
  const shown = new Map([...byId("errors").children].map((child) => [child.dataset.key, child]));
  byId("errors").replaceChildren(...errors.map((one) => shown.get(key(one)) || shownError(one, key)));
}

function shownError(one, key) {
  const [made, details, stack] = ["li", "details", "pre"].map((tag) => document.createElement(tag));
  made.dataset.key = key(one);
  const times = one.count > 1 ? ` (${whole.format(one.count)} times)` : "";
  details.append(item("summary", `${one.message}${times}, process ${one.pid}`, one.time), stack);
  details.addEventListener("toggle", async () => {
    if (!details.open) return;
    const { errors = [] } = await (await fetch("stats.json")).json();
    stack.textContent = errors.find((other) => key(other) === key(one))?.stack || "no stack";
  });
  made.append(details);
  return made;
}

// ---------------------------------------------------------------- charts

const x = { title: "time", unit: "clock" };
const part = (name) => (second) => second.answers[name] || 0;

// Each chart has its unit, the least upper end of its axis, and series: name, colour, value of a record.
const drawn = {
  times: [{ title: "response time", unit: "seconds", log: true, label: "response time (log)" }, [
    ["p50", "ink", (second) => second.p50 || null], ["p99", "costs", (second) => second.p99 || null],
  ]],
  requests: [{ unit: "rate", least: 10 }, [["TPS", "serve", (second) => second.tps], ["QPS", "wait", (second) => second.qps]]],
  failures: [{ unit: "rate", least: 1 }, [
    ["5xx", "costs", part("5xx")], ["4xx", "wait", part("4xx")], ["aborted", 4, (second) => second.aborted], ["refused", 3, (second) => second.shed],
  ]],
  users: [{ unit: "number", least: 10 }, [
    ["connected", "serve", (second) => second.users], ["in progress", "wait", (second) => second.in_progress],
    ["queued", "costs", (second) => second.queue],
  ]],
  throughput: [{ unit: "bytes/s", least: 1000 }, [["out", "serve", (second) => second.bytes_out], ["in", "wait", (second) => second.bytes_in]]],
  work: [{ unit: "share", least: 1 }, [
    ["CPU", "serve", (second) => second.cpu], ["loops busy", "wait", (second) => second.busy],
    ["a core for each worker", "costs", (second) => second.wanted],
  ]],
};

for (const [id, [y, series]] of Object.entries(drawn)) {
  charts.make(byId(id), {
    x: { ...x }, y: { label: "", ...y }, gaps: true, shade: "serve",
    series: series.map(([name, colour], at) => ({ name, colour, filled: at === 0 && id !== "times" && id !== "failures" })),
  });
}

// Draw the records of the chosen span: single seconds, or tens of them where it is long.
function draw() {
  const { span, sample } = state;
  const step = span > 300 ? 10 : 1;
  const now = sample ? sample.time : Date.now() / 1000;
  const records = (step > 1 ? state.tens : state.past).filter(({ time }) => time > now - span);
  const points = records.flatMap((record, at) => { // a gap in time is one in the lines
    const isGap = at && record.time - records[at - 1].time > 3.5 * step;
    return isGap ? [{ time: record.time - step }, record] : [record];
  });
  for (const [id, [, series]] of Object.entries(drawn)) {
    const { spec } = charts.made[id];
    Object.assign(spec.x, { low: now - span, high: now });
    spec.events = state.marks.map(({ time, kind, text }) => ({ at: time, kind, text: `${iso(time)} ${text}` }));
    if (id === "times") spec.cells = cells(records, step);
    charts.made[id].set([points.map(({ time }) => time), ...series.map(([, , of]) => points.map((one) => (one.number ? of(one) : null)))]);
  }
}

// Return the seconds at which a step of the heat starts. A step is half a power of two: 8 of the server's buckets.
function stepStart(step) {
  const index = step * 8;
  const exponent = Math.max(0, Math.floor(index / 16) - 1);
  return ((index - 16 * exponent) * 2 ** (exponent + 6)) / 1e9;
}

function cells(records, step) {
  const most = Math.max(1, ...records.flatMap(({ heat }) => heat.map(([, count]) => count)));
  return records.flatMap(({ time, heat }) => heat.map(([at, count]) => ({
    x: [time - step, time], y: [stepStart(Math.max(at, 0.5)), stepStart(at + 1)], share: Math.log1p(count) / Math.log1p(most),
  })));
}

// ---------------------------------------------------------------- the model: how it waits now

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function drawModel() {
  const { sample } = state;
  const ready = sample.workers.filter((worker) => worker.state !== "leaving");
  const model = (ready.find((worker) => worker.model) || {}).model;
  if (!model) return;
  const each = { process: "process", thread: "thread", "thread-pool": "thread" }[model];
  byId("picture").replaceChildren(...(each ? onePerUser(each) : oneLoop(ready)));
}

function users(count, active, limit) {
  const shown = Math.min(count, limit);
  const rows = Math.max(1, Math.min(8, Math.ceil(shown / 3)));
  const dots = [];
  for (let at = 0; at < shown; at += 1) {
    const [x, y] = [30 + Math.floor(at / rows) * 22, 115 + (at % rows - (rows - 1) / 2) * 22];
    dots.push({ x, y, active: at < active });
  }
  return dots;
}

const dot = ({ x, y, active }) => element("circle", { cx: x, cy: y, r: 7, class: active ? "user active" : "user" });

function label(count, shown) {
  const users = count === 1 ? "1 user" : `${whole.format(count)} users`;
  return element("text", { x: 22, y: 222 }, count > shown ? `${users}, ${shown} of them drawn` : users);
}

function oneLoop(workers) {
  const { sample } = state;
  const dots = users(sample.users, sample.in_progress, 24);
  const loops = workers.slice(0, 4);
  const parts = [];
  loops.forEach((worker, at) => {
    const y = 115 + (at - (loops.length - 1) / 2) * (loops.length > 3 ? 54 : 68);
    const size = loops.length > 3 ? 20 : loops.length > 1 ? 25 : 40;
    for (const place of dots) {
      if (dots.indexOf(place) % loops.length === at) {
        const { x, y: from, active } = place;
        parts.push(element("path", { d: `M${x + 9} ${from}C150 ${from} 130 ${y} ${210 - size} ${y}`, class: active ? "line active" : "line" }));
      }
    }
    parts.push(...ring(210, y, size, worker.busy), ...threads(worker, y, size));
  });
  if (sample.workers.length > 4) parts.push(element("text", { x: 180, y: 222 }, `and ${sample.workers.length - 4} more workers`));
  return [...parts, ...dots.map(dot), label(sample.users, 24)];
}

function ring(x, y, size, busy) {
  const round = 2 * Math.PI * size;
  const share = Math.min(1, busy);
  return [
    element("circle", { cx: x, cy: y, r: size, class: "track" }),
    element("circle", {
      cx: x, cy: y, r: size, class: share > 0.9 ? "ring hot" : "ring", transform: `rotate(-90 ${x} ${y})`,
      "stroke-dasharray": `${share * round} ${round}`,
    }),
    element("text", { x, y: y + 4, class: "inside" }, `${Math.round(share * 100)} %`),
  ];
}

function threads(worker, y, size) {
  if (worker.calls !== "pool" && !worker.pooled) return [element("text", { x: 222 + size, y: y + 4 }, "calls inline")];
  const running = Math.max(0, worker.in_progress - worker.queue);
  const boxes = Math.min(6, Math.max(1, Math.min(running, state.about.threads)));
  const parts = [element("path", { d: `M${214 + size} ${y}H312`, class: running ? "line active" : "line" })];
  for (let at = 0; at < Math.min(worker.queue, 4); at += 1) parts.push(element("circle", { cx: 300 - at * 12, cy: y, r: 4, class: "waits" }));
  for (let at = 0; at < boxes; at += 1) {
    parts.push(element("rect", {
      x: 314 + (at % 3) * 30, y: y - (boxes > 3 ? 22 : 11) + Math.floor(at / 3) * 24, width: 26, height: 20, rx: 4,
      class: at < running ? "box active" : "box",
    }));
  }
  parts.push(element("text", { x: 314, y: y + (boxes > 3 ? 38 : 26) }, `${whole.format(running)} of ${state.about.threads} threads`));
  return parts;
}

function onePerUser(kind) {
  const { sample } = state;
  const shown = Math.min(sample.users, 7);
  const parts = [];
  for (let at = 0; at < shown; at += 1) {
    const y = 105 + (at - (shown - 1) / 2) * 27;
    const active = at < sample.in_progress;
    parts.push(
      element("path", { d: `M39 ${y}H200`, class: active ? "line active" : "line" }), dot({ x: 30, y, active }),
      element("rect", { x: 200, y: y - 11, width: 120, height: 22, rx: 5, class: active ? "box active" : "box" }),
      element("text", { x: 260, y: y + 4, class: "inside" }, kind),
    );
  }
  return [...parts, label(sample.users, 7)];
}

// ---------------------------------------------------------------- samples

function showAll() {
  if (!state.sample) return;
  for (const show of [showFigures, showServer, showReload, showScaled, showWorkers, showFailures, showMarks, showRoutes, showErrors, drawModel, draw]) show();
}

function keep(records, record, count) {
  records.push(record);
  records.splice(0, records.length - count);
}

function add(sample) {
  const second = { ...sample.windows["1"] };
  for (const name of ["number", "time", "wanted", "users", "in_progress", "queue", "heat"]) second[name] = sample[name];
  keep(state.past, second, 300);
  if (sample.ten) keep(state.tens, sample.ten, 720);
  const last = state.marks.at(-1)?.number || 0;
  for (const mark of sample.marks.filter(({ number }) => number > last)) keep(state.marks, mark, 200);
  state.sample = sample;
  showAll();
}

function listen() {
  const events = new EventSource("events");
  events.addEventListener("past", (event) => {
    const { past, tens, marks, ...about } = JSON.parse(event.data);
    Object.assign(state, { about, past, tens, marks });
    byId("profile").hidden = !about.profile;
    byId("lost").hidden = true;
    draw();
  });
  events.addEventListener("sample", (event) => add(JSON.parse(event.data)));
  events.addEventListener("error", () => {
    const last = state.sample ? ` The figures are of ${iso(state.sample.time)}.` : "";
    byId("lost").textContent = `The server does not respond; trying again.${last}`;
    byId("lost").hidden = false;
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  });
}

function choose(name, take) {
  const buttons = document.querySelectorAll(`[data-${name}]`);
  for (const button of buttons) {
    button.addEventListener("click", () => {
      take(button.dataset[name]);
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      showAll();
    });
  }
}

choose("window", (window) => { state.window = window; });
choose("span", (span) => { state.span = Number(span); charts.made.times.zoomed(null); });
draw();
listen();
