// The closed loop of measures.html: N users think (mean Z), queue, and are served (mean S) by one of c hosts.
// The curves solve it exactly as a birth and death process; the stage below plays it with a seeded dice.
(() => {
  "use strict";
  const MOST = 200;
  const form = document.querySelector("#loop form");
  const text = (id, value) => { document.getElementById(id).textContent = value; };
  const brief = (ms) => (ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms && ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`);

  // Chances p[k] that k of the n users are in the server: p[k+1] / p[k] = birth(k) / death(k+1).
  function solve(n, think, service, hosts) {
    if (think === 0) {
      const rate = Math.min(n, hosts) / service;
      return { rate, time: n / rate };
    }
    const chances = [1];
    let sum = 1;
    for (let k = 0; k < n; k += 1) {
      const next = chances[k] * ((n - k) / think) * (service / Math.min(k + 1, hosts));
      chances.push(next);
      sum += next;
      if (sum > 1e200) { // keep far from the largest number there is
        for (let i = 0; i < chances.length; i += 1) chances[i] /= sum;
        sum = 1;
      }
    }
    let inside = 0;
    let rate = 0;
    chances.forEach((chance, k) => {
      inside += (k * chance) / sum;
      rate += ((Math.min(k, hosts) / service) * chance) / sum;
    });
    return { rate, time: inside / rate };
  }

  const knobs = () => ({
    users: Number(form.users.value),
    think: Number(form.think.value),
    service: Number(form.service.value),
    hosts: Number(form.hosts.value),
  });

  function element(parent, name, attributes, words) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (words !== undefined) made.textContent = words;
    parent.append(made);
    return made;
  }

  // A round number at or above the value, for the top of an axis.
  function roof(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
  }

  function plot(id, title, values, bounds, here, label) {
    const svg = document.getElementById(id);
    svg.replaceChildren();
    const [left, right, top, bottom] = [46, 328, 34, 186];
    const high = roof(Math.max(...values));
    const x = (n) => left + ((right - left) * n) / MOST;
    const y = (value) => bottom - ((bottom - top) * Math.min(value, high * 1.04)) / high;
    element(svg, "text", { x: 4, y: 16, class: "title" }, title);
    for (const part of [0, 0.5, 1]) {
      element(svg, "path", { class: "axis", d: `M${left} ${y(high * part)}H${right}` });
      element(svg, "text", { x: left - 6, y: y(high * part) + 4, "text-anchor": "end" }, label(high * part));
    }
    for (const n of [0, 50, 100, 150, 200]) element(svg, "text", { x: x(n), y: bottom + 18, "text-anchor": "middle" }, n);
    element(svg, "text", { x: right, y: bottom + 33, "text-anchor": "end" }, "users");
    for (const bound of bounds) {
      const points = Array.from({ length: MOST + 1 }, (_, n) => [n, bound(n)]).filter(([, value]) => value >= 0 && value <= high);
      if (points.length) element(svg, "path", { class: "bound", d: `M${points.map(([n, value]) => `${x(n).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}` });
    }
    element(svg, "path", { class: "curve", d: `M${values.map((value, i) => `${x(i + 1).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}` });
    element(svg, "circle", { class: "here", cx: x(here), cy: y(values[here - 1]), r: 7 });
  }

  function update() {
    const { users, think, service, hosts } = knobs();
    text("q-users-value", users);
    text("q-think-value", brief(think));
    text("q-service-value", brief(service));
    text("q-hosts-value", hosts);
    const solved = Array.from({ length: MOST }, (_, i) => solve(i + 1, think, service, hosts));
    const full = hosts / service;
    plot("q-rate", "X, answers per second (TPS)", solved.map((point) => point.rate * 1000),
      [() => full * 1000, (n) => (n / (think + service)) * 1000], users, (value) => value.toFixed(value < 10 ? 1 : 0));
    plot("q-time", "R, response time", solved.map((point) => point.time),
      [() => service, (n) => n / full - think], users, (value) => (value >= 1000 ? `${value / 1000} s` : value ? `${value} ms` : "0"));
    const { rate, time } = solved[users - 1];
    const knee = full * (think + service);
    const read = document.getElementById("q-read");
    read.replaceChildren();
    const bold = (words) => { const b = document.createElement("b"); b.textContent = words; return b; };
    read.append(bold(`${(rate * 1000).toFixed(1)} answers per second`), `, each after `, bold(brief(time)),
      `; the hosts are busy ${((rate / full) * 100).toFixed(0)} % of the time. The knee, where the dashed bounds cross, is at ${knee.toFixed(0)} users.`);
    text("q-law", `Little’s law: ${(rate * 1000).toFixed(1)}/s × (${brief(time)} + ${brief(think)}) = ${(rate * (time + think)).toFixed(1)} users.`);
    if (world) restart();
  }

  // The stage: the same queue, played.
  const canvas = document.getElementById("q-stage");
  const run = document.getElementById("q-run");
  let world = null;
  let last = 0;

  function dice(seed) { // mulberry32
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  function restart() {
    const set = knobs();
    const roll = dice(7);
    const spread = (mean) => -mean * Math.log(1 - roll());
    world = { ...set, spread, roll, now: 0, queue: [], busy: [], answers: 0, waited: 0, users: [] };
    for (let i = 0; i < set.users; i += 1) {
      world.users.push({ state: "think", until: spread(set.think), asked: 0, x: 0.1 + 0.8 * roll(), y: 0.1 + 0.8 * roll(), px: null, py: 0 });
    }
    world.busy = Array(set.hosts).fill(null);
  }

  // Let time pass from event to event.
  function pass(until) {
    for (;;) {
      let next = null;
      for (const user of world.users) if (user.state !== "queue" && user.until <= until && (!next || user.until < next.until)) next = user;
      if (!next) break;
      world.now = next.until;
      if (next.state === "think") {
        next.state = "queue";
        next.asked = world.now;
        world.queue.push(next);
      } else {
        world.busy[world.busy.indexOf(next)] = null;
        world.answers += 1;
        world.waited += world.now - next.asked;
        next.state = "think";
        next.until = world.now + world.spread(world.think) + 1e-6;
      }
      let host = world.busy.indexOf(null);
      while (host >= 0 && world.queue.length) {
        const user = world.queue.shift();
        user.state = "serve";
        user.until = world.now + world.spread(world.service);
        world.busy[host] = user;
        host = world.busy.indexOf(null);
      }
    }
    world.now = until;
  }

  function place(user, width, height) {
    if (user.state === "think") return [user.x * width * 0.36, user.y * height];
    if (user.state === "serve") return [width - 34, ((world.busy.indexOf(user) + 0.5) * height) / world.hosts];
    const index = world.queue.indexOf(user);
    const rows = Math.floor((height - 16) / 13);
    return [width - 84 - Math.floor(index / rows) * 13, 14 + (index % rows) * 13];
  }

  function paint() {
    const box = canvas.getBoundingClientRect();
    const scale = devicePixelRatio || 1;
    if (canvas.width !== Math.round(box.width * scale)) {
      canvas.width = Math.round(box.width * scale);
      canvas.height = Math.round(box.height * scale);
    }
    const brush = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name);
    brush.setTransform(scale, 0, 0, scale, 0, 0);
    brush.clearRect(0, 0, box.width, box.height);
    brush.strokeStyle = color("--line");
    brush.lineWidth = 2;
    for (let host = 0; host < world.hosts; host += 1) {
      brush.beginPath();
      brush.arc(box.width - 34, ((host + 0.5) * box.height) / world.hosts, Math.min(14, box.height / world.hosts / 2 - 1), 0, 7);
      brush.stroke();
    }
    const colors = { think: color("--soft"), queue: color("--wait"), serve: color("--serve") };
    for (const user of world.users) {
      const [x, y] = place(user, box.width, box.height);
      if (user.px === null) [user.px, user.py] = [x, y];
      user.px += (x - user.px) * 0.3;
      user.py += (y - user.py) * 0.3;
      brush.fillStyle = colors[user.state];
      brush.beginPath();
      brush.arc(user.px, user.py, user.state === "serve" ? 8 : 4.5, 0, 7);
      brush.fill();
    }
  }

  function frame(now) {
    if (!last) return;
    pass(world.now + Math.min(100, now - last));
    last = now;
    paint();
    const seconds = world.now / 1000;
    if (world.answers) {
      text("q-seen", `${seconds.toFixed(0)} s played: ${world.answers} answers, ${(world.answers / seconds).toFixed(1)} per second, each after ${brief(world.waited / world.answers)}; ${world.queue.length} in the queue now.`);
    }
    requestAnimationFrame(frame);
  }

  run.addEventListener("click", () => {
    if (last) {
      last = 0;
      run.textContent = "Go on";
      return;
    }
    if (!world) restart();
    run.textContent = "Stop";
    last = performance.now();
    requestAnimationFrame(frame);
  });
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("loop").hidden = false;
  document.getElementById("stage").hidden = false;
  update();
  restart();
  pass(3000);
  paint();
  addEventListener("resize", paint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
})();
