"use strict";
// Draws the samples of the server: `past` once, then a `sample` each second. The server computes all figures.

const KEPT = 300; // seconds in the charts
const state = { about: {}, past: [], sample: null, window: "10", hover: null };
const byId = (id) => document.getElementById(id);

// ---------------------------------------------------------------- numbers for people

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

function number(value) {
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(value < 0.095 ? 2 : 1) : whole.format(value);
}

function scaled(value, units, base) {
  let at = 0;
  while (value >= base * 0.9995 && at < units.length - 1) { value /= base; at += 1; }
  return `${value >= 100 || value === 0 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ${units[at]}`;
}

function time(seconds) {
  if (!seconds) return "–";
  return seconds < 1 ? scaled(seconds * 1e6, ["µs", "ms"], 1000) : `${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(0)} s`;
}

const bytes = (value) => scaled(value, ["B", "KB", "MB", "GB"], 1000);
const speed = (value) => `${bytes(value)}/s`;
const percent = (share) => `${(share * 100).toFixed(share && share < 0.0995 ? 1 : 0)} %`;

function age(seconds) {
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  const found = units.find(([size]) => seconds >= size);
  return found ? `${Math.floor(seconds / found[0])} ${found[1]}` : `${Math.floor(seconds)} s`;
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
    `since ${new Date(about.since * 1000).toLocaleString()}`;
}

function showReload() {
  const { reload, wanted, workers, time } = state.sample;
  const began = new Date((time - reload.age) * 1000).toLocaleTimeString();
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
  const when = new Date((time - scaled.age) * 1000).toLocaleTimeString();
  const last = reason ? `; one ${scaled.more ? "more" : "less"} at ${when}: ${reason}` : "";
  byId("range").hidden = !most;
  byId("scaled").textContent = most ? `${wanted} wanted, ${least} to ${most} by demand${last}` : "";
}

function showWorkers() {
  const cells = (worker) => [
    [worker.pid], [worker.state === "silent" ? `no answer for ${age(worker.silent)}` : worker.state, worker.state],
    [age(worker.age)], [whole.format(worker.users)], [whole.format(worker.in_progress)], [number(worker.tps)],
    [time(worker.p50)], [time(worker.p99)], [time(worker.lag)], [percent(worker.cpu)], [bytes(worker.memory)],
  ];
  const rows = state.sample.workers.map((worker) => {
    const row = document.createElement("tr");
    for (const [text, kind] of cells(worker)) {
      const cell = row.insertCell();
      cell.textContent = text;
      if (kind) cell.dataset.state = kind;
    }
    return row;
  });
  byId("workers").replaceChildren(...rows);
}

// ---------------------------------------------------------------- charts: one step to the left is one second earlier

let colours = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "soft", "line", "card", "serve", "wait", "birth", "pale"]) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
}

class Chart {
  constructor(id) {
    this.canvas = byId(id);
    this.left = 54; this.bottom = 18; this.top = 8;
    this.canvas.addEventListener("pointermove", (event) => hover(this, event));
    this.canvas.addEventListener("pointerleave", () => { state.hover = null; draw(); });
  }

  clear() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    this.pen = this.canvas.getContext("2d");
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.pen.clearRect(0, 0, width, height);
    this.pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    this.width = width; this.height = height;
    this.span = Math.max(60, Math.min(KEPT, Math.floor((width - this.left) / 2)));
    this.step = (width - this.left) / (this.span - 1);
    this.shown = state.past.slice(-this.span);
  }

  x(index) { return this.width - (this.shown.length - 1 - index) * this.step; }
  y(share) { return this.top + (1 - share) * (this.height - this.bottom - this.top); }

  grid(share, text) {
    const y = Math.round(this.y(share)) + 0.5;
    this.pen.strokeStyle = colours.line; this.pen.lineWidth = 1;
    this.pen.beginPath(); this.pen.moveTo(this.left, y); this.pen.lineTo(this.width, y); this.pen.stroke();
    this.pen.fillStyle = colours.soft; this.pen.textAlign = "right"; this.pen.textBaseline = "middle";
    this.pen.fillText(text, this.left - 7, y);
  }

  times() {
    this.pen.fillStyle = colours.soft; this.pen.textBaseline = "alphabetic";
    const every = [10, 15, 30, 60, 120].find((seconds) => seconds * this.step >= 70) || 300;
    for (let back = 0; back < this.span; back += every) {
      const x = this.width - back * this.step;
      this.pen.textAlign = back ? "center" : "right";
      this.pen.fillText(back ? ago(back) : "now", x, this.height - 3);
    }
  }

  line(share, colour, filled) {
    const { pen } = this;
    pen.beginPath();
    let open = false;
    this.shown.forEach((second, index) => {
      const value = share(second);
      if (value === null) { open = false; return; }
      if (open) pen.lineTo(this.x(index), this.y(value)); else pen.moveTo(this.x(index), this.y(value));
      open = true;
    });
    pen.strokeStyle = colour; pen.lineWidth = 1.75; pen.lineJoin = "round"; pen.stroke();
    if (filled && this.shown.length > 1) {
      pen.lineTo(this.width, this.y(0)); pen.lineTo(this.x(0), this.y(0)); pen.closePath();
      pen.globalAlpha = 0.14; pen.fillStyle = colour; pen.fill(); pen.globalAlpha = 1;
    }
  }

  crosshair(lines) {
    if (state.hover === null || this.shown.length === 0) return;
    const index = this.shown.length - 1 - state.hover;
    if (index < 0) return;
    const { pen } = this;
    const x = this.x(index);
    pen.strokeStyle = colours.soft; pen.lineWidth = 1; pen.setLineDash([2, 3]);
    pen.beginPath(); pen.moveTo(x, this.top); pen.lineTo(x, this.height - this.bottom); pen.stroke(); pen.setLineDash([]);
    const texts = lines(this.shown[index]);
    const boxWidth = Math.max(...texts.map((text) => pen.measureText(text).width)) + 14;
    const left = x + boxWidth + 8 > this.width ? x - boxWidth - 6 : x + 6;
    pen.fillStyle = colours.ink; pen.globalAlpha = 0.92;
    pen.beginPath(); pen.roundRect(left, this.top, boxWidth, 15 * texts.length + 6, 5); pen.fill(); pen.globalAlpha = 1;
    pen.fillStyle = colours.card; pen.textAlign = "left"; pen.textBaseline = "middle";
    texts.forEach((text, at) => pen.fillText(text, left + 7, this.top + 11 + 15 * at));
  }
}

function ago(seconds) {
  return seconds < 60 ? `−${seconds} s` : `−${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function hover(chart, event) {
  const box = chart.canvas.getBoundingClientRect();
  state.hover = Math.max(0, Math.round((chart.width - (event.clientX - box.left)) / chart.step));
  draw();
}

class Lines extends Chart {
  constructor(id, series, text, smallestTop) {
    super(id);
    Object.assign(this, { series, text, smallestTop });
  }

  draw() {
    this.clear();
    const series = this.series.filter(({ when }) => !when || when());
    const highest = Math.max(this.smallestTop, ...this.shown.flatMap((second) => series.map(({ of }) => of(second))));
    const top = nice(highest);
    for (const share of [0, 0.5, 1]) this.grid(share, this.text(share * top));
    this.times();
    for (const { of, colour, filled } of series) this.line((second) => of(second) / top, colours[colour], filled);
    this.crosshair((second) => series.map(({ of, name }) => `${name} ${this.text(of(second))}`));
  }
}

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((factor) => factor * power).find((top) => top >= value * 0.9999);
}

// Return the seconds at which a step of the heat starts. A step is half a power of two: 8 of the server's buckets.
function stepStart(step) {
  const index = step * 8;
  const exponent = Math.max(0, Math.floor(index / 16) - 1);
  return ((index - 16 * exponent) * 2 ** (exponent + 6)) / 1e9;
}

class Heat extends Chart {
  draw() {
    this.clear();
    const steps = this.shown.flatMap((second) => second.heat.map(([step]) => step));
    const low = Math.max(1, (steps.length ? Math.min(...steps) : 6) - 1);
    const high = Math.max(low + 6, (steps.length ? Math.max(...steps) : 20) + 2);
    const [bottom, top] = [Math.log2(stepStart(low)), Math.log2(stepStart(high))];
    this.share = (seconds) => (seconds > 0 ? Math.min(1, Math.max(0, (Math.log2(seconds) - bottom) / (top - bottom))) : null);
    for (let power = -7; power <= 2; power += 1) {
      const seconds = 10 ** power;
      if (seconds >= stepStart(low) && seconds <= stepStart(high)) this.grid(this.share(seconds), time(seconds).replace(/\.0+(?= )/, ""));
    }
    this.cells();
    this.times();
    this.line((second) => this.share(second.p50), colours.ink);
    this.line((second) => this.share(second.p99), colours.birth);
    this.crosshair((second) => ["p50", "p90", "p99", "max"].map((name) => `${name} ${time(second[name])}`));
  }

  cells() {
    const most = Math.max(1, ...this.shown.flatMap((second) => second.heat.map(([, count]) => count)));
    this.pen.fillStyle = colours.serve;
    this.shown.forEach((second, index) => {
      for (const [step, count] of second.heat) {
        const [from, to] = [this.y(this.share(stepStart(Math.max(step, 0.5)))), this.y(this.share(stepStart(step + 1)))];
        this.pen.globalAlpha = 0.12 + 0.78 * (Math.log1p(count) / Math.log1p(most));
        this.pen.fillRect(this.x(index) - this.step, to, this.step + 0.4, from - to);
      }
    });
    this.pen.globalAlpha = 1;
  }
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

// ---------------------------------------------------------------- samples, and the next drawing

const failed = (second) => (second.answers["5xx"] || 0) + second.aborted;
const charts = [
  new Heat("heat"),
  new Lines("requests", [
    { name: "QPS", of: (second) => second.qps, colour: "wait" }, { name: "TPS", of: (second) => second.tps, colour: "serve", filled: true },
    { name: "failed", of: failed, colour: "birth" },
  ], number, 10),
  new Lines("users", [
    { name: "users", of: (second) => second.users, colour: "serve", filled: true },
    { name: "in progress", of: (second) => second.in_progress, colour: "wait" },
    { name: "queued", of: (second) => second.queue, colour: "birth" },
  ], number, 10),
  new Lines("throughput", [
    { name: "out", of: (second) => second.bytes_out, colour: "serve", filled: true }, { name: "in", of: (second) => second.bytes_in, colour: "wait" },
  ], (value) => bytes(value).replace(/\.0+(?= )/, ""), 1000),
  new Lines("work", [
    { name: "CPU", of: (second) => second.cpu, colour: "serve", filled: true }, { name: "loops", of: (second) => second.busy, colour: "wait" },
    { name: "a core for each worker", of: (second) => second.wanted, colour: "birth", when: () => state.sample && state.sample.most },
  ], percent, 1),
];

let scheduled = false;

function draw() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    for (const chart of charts) chart.draw();
  });
}

function showAll() {
  if (!state.sample) return;
  showFigures();
  showServer();
  showReload();
  showScaled();
  showWorkers();
  drawModel();
  draw();
}

function add(sample) {
  const second = { ...sample.windows["1"] };
  for (const name of ["number", "time", "wanted", "users", "in_progress", "queue", "heat"]) second[name] = sample[name];
  state.past.push(second);
  state.past.splice(0, state.past.length - KEPT);
  state.sample = sample;
  showAll();
}

function listen() {
  const events = new EventSource("events");
  events.addEventListener("past", (event) => {
    const { past, ...about } = JSON.parse(event.data);
    state.about = about;
    state.past = past.slice(-KEPT);
    byId("lost").hidden = true;
    draw();
  });
  events.addEventListener("sample", (event) => add(JSON.parse(event.data)));
  events.addEventListener("error", () => {
    const last = state.sample ? ` The figures are of ${new Date(state.sample.time * 1000).toLocaleTimeString()}.` : "";
    byId("lost").textContent = `The server does not respond; trying again.${last}`;
    byId("lost").hidden = false;
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  });
}

for (const button of document.querySelectorAll("[data-window]")) {
  button.addEventListener("click", () => {
    state.window = button.dataset.window;
    for (const other of document.querySelectorAll("[data-window]")) other.setAttribute("aria-pressed", String(other === button));
    showAll();
  });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); draw(); });
addEventListener("resize", draw);
readColours();
draw();
listen();
