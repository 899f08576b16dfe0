// Coordinated omission on measures.html: the same stall as a closed and as an open loop report it.
(() => {
  "use strict";
  const EVERY = 20; // ms between two requests
  const TAKES = 5; // ms for an answer
  const START = 1000; // when the server stops
  const END = 4000;
  const slider = document.getElementById("s-stall");
  const plot = document.getElementById("s-plot");

  // When a request that reaches the server at `time` has its answer; one at a time, none during the stall.
  function answered(time, free, stall) {
    let begin = Math.max(time, free);
    if (begin + TAKES > START && begin < START + stall) begin = START + stall;
    return begin + TAKES;
  }

  function closed(stall) {
    const points = [];
    let free = 0;
    for (let time = 0; time < END; ) {
      free = answered(time, free, stall);
      points.push([time, free - time]);
      time = Math.max(Math.ceil(free / EVERY) * EVERY, time + EVERY); // the next beat after the answer
    }
    return points;
  }

  function open(stall) {
    const points = [];
    let free = 0;
    for (let due = 0; due < END; due += EVERY) {
      free = answered(due, free, stall);
      points.push([due, free - due]);
    }
    return points;
  }

  function percentile(points, part) {
    const sorted = points.map(([, time]) => time).sort((a, b) => a - b);
    return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)];
  }

  function element(name, attributes, words) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (words !== undefined) made.textContent = words;
    plot.append(made);
  }

  function update() {
    const stall = Number(slider.value);
    document.getElementById("s-stall-value").textContent = `${stall} ms`;
    const seen = { closed: closed(stall), open: open(stall) };
    const body = document.getElementById("s-table");
    body.replaceChildren();
    const rows = [["p50", 0.5], ["p90", 0.9], ["p99", 0.99], ["max", 1]];
    for (const [label, part] of rows) {
      const row = body.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = label;
      row.append(head);
      for (const points of [seen.closed, seen.open]) row.insertCell().textContent = `${percentile(points, part)} ms`;
    }
    const row = body.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = "sent";
    row.append(head);
    for (const points of [seen.closed, seen.open]) row.insertCell().textContent = points.length;
    paint(stall, seen);
  }

  function paint(stall, seen) {
    plot.replaceChildren();
    const width = Math.max(330, Math.min(720, plot.parentElement.clientWidth, plot.clientWidth || 720));
    plot.setAttribute("viewBox", `0 0 ${width} 320`);
    const [left, right, top, bottom] = [46, width - 10, 64, 272];
    const high = 2000;
    const x = (time) => left + ((right - left) * time) / END;
    const y = (time) => bottom - ((bottom - top) * time) / high;
    if (stall) element("rect", { class: "stall", x: x(START), y: top, width: x(START + stall) - x(START), height: bottom - top });
    for (let time = 0; time <= high; time += 500) {
      element("path", { class: "axis", d: `M${left} ${y(time)}H${right}` });
      element("text", { x: left - 8, y: y(time) + 4, "text-anchor": "end" }, time ? `${time / 1000} s` : "0");
    }
    for (let time = 0; time <= END; time += 1000) element("text", { x: x(time), y: bottom + 20, "text-anchor": "middle" }, `${time / 1000} s`);
    element("text", { x: right, y: bottom + 40, "text-anchor": "end" }, "when the request was sent, or due");
    element("text", { x: 4, y: 16, class: "title" }, "Response time of each request");
    for (const [time, took] of seen.open) element("circle", { class: "open", cx: x(time).toFixed(1), cy: y(took).toFixed(1), r: 3 });
    for (const [time, took] of seen.closed) {
      element("rect", { class: "closed", x: (x(time) - 3).toFixed(1), y: (y(took) - 3).toFixed(1), width: 6, height: 6 });
    }
    element("circle", { class: "open", cx: 9, cy: 36, r: 4 });
    element("text", { x: 20, y: 40 }, "open loop, from when due");
    element("rect", { class: "closed", x: 186, y: 32, width: 8, height: 8 });
    element("text", { x: 200, y: 40 }, "closed loop");
    if (stall >= 900) element("text", { x: x(START + stall / 2), y: bottom - 8, "text-anchor": "middle" }, "server stands still");
  }

  slider.addEventListener("input", update);
  addEventListener("resize", update);
  slider.form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("stall-bench").hidden = false;
  update();
})();
