// The composer of the start page: three choices, the command they make, and a picture of what then runs.
(() => {
  "use strict";
  const bench = document.getElementById("compose");
  const form = bench.querySelector("form");
  const picture = document.getElementById("c-picture");
  const CLIENTS = 8;
  const EACH = new Set(["process", "thread"]);

  function draw(name, attributes, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text) element.textContent = text;
    picture.append(element);
    return element;
  }

  const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

  function update() {
    const { model, calls } = Object.fromEntries(new FormData(form));
    const workers = Number(form.workers.value);
    const threads = Number(form.threads.value);
    const pooled = calls === "pool";
    document.getElementById("c-workers-value").textContent = workers;
    document.getElementById("c-threads-value").textContent = threads;
    const useful = pooled || model === "thread-pool";
    form.threads.disabled = !useful;
    const parts = ["allcomers run app.py:app", `--model ${model}`];
    if (workers > 1) parts.push(`--workers ${workers}`);
    parts.push(`--calls ${calls}`);
    if (useful) parts.push(`--threads ${threads}`);
    document.getElementById("c-command").textContent = parts.join(" ");
    document.getElementById("c-words").textContent = describe(model, workers, pooled, threads);
    paint(model, workers, pooled, threads);
  }

  function describe(model, workers, pooled, threads) {
    const who = plural(workers, "process", "processes");
    const verb = workers === 1 ? "accepts" : "accept";
    let waits;
    if (model === "iterative") waits = "each client is served to its end before the next";
    else if (model === "process") waits = "every connection gets a child process that waits for it alone";
    else if (model === "thread") waits = "every connection gets a thread that waits for it alone";
    else if (model === "thread-pool") waits = `${plural(threads, "thread", "threads")} in each serve one connection at a time`;
    else waits = `one ${model} loop in each waits for all of its sockets`;
    const where = pooled
      ? `App calls go to a pool of ${plural(threads, "thread", "threads")} a process, so a slow call holds up nobody else’s bytes.`
      : "App calls run where the bytes were read: nothing is handed over, and a slow call holds up whoever shares that thread.";
    return `${who} ${verb}; ${waits}. ${where}`;
  }

  function hostsOf(model, threads, clients) {
    if (EACH.has(model)) return clients;
    return model === "thread-pool" ? threads : 1;
  }

  function paint(model, workers, pooled, threads) {
    picture.replaceChildren();
    const width = 560 / workers;
    for (let worker = 0; worker < workers; worker += 1) {
      const left = worker * width + 8;
      const right = (worker + 1) * width - 8;
      draw("rect", { class: "box", x: left, y: 86, width: right - left, height: 150, rx: 12 });
      const clients = Math.floor(CLIENTS / workers) + (worker < CLIENTS % workers ? 1 : 0);
      const hosts = hostsOf(model, threads, clients);
      const at = (index, count) => left + ((index + 0.5) * (right - left)) / count;
      const size = Math.min(15, (right - left) / hosts / 2 - 2);
      for (let client = 0; client < clients; client += 1) {
        const x = at(client, clients);
        const free = hosts === 1 ? model !== "iterative" || client === 0 : client < hosts;
        const to = hosts === 1 ? at(0, 1) : at(client, hosts);
        const path = free ? `M${x} 32C${x} 90 ${to} 80 ${to} ${136 - size}` : `M${x} 32V80`;
        draw("path", { class: free ? "wire" : "wire shut", d: path });
        draw("circle", { class: free ? "peer" : "peer waits", cx: x, cy: 22, r: 10 });
      }
      for (let host = 0; host < hosts; host += 1) {
        if (model === "process") {
          draw("rect", { class: "host", x: at(host, hosts) - size, y: 136 - size, width: size * 2, height: size * 2, rx: 3 });
        } else {
          draw("circle", { class: hosts === 1 ? "host busy" : "host", cx: at(host, hosts), cy: 136, r: size });
        }
      }
      if (pooled) {
        const small = Math.min(9, (right - left) / threads / 2 - 2);
        for (let thread = 0; thread < threads; thread += 1) {
          const x = at(thread, threads);
          draw("path", { class: "wire shut", d: `M${at(Math.floor(hosts / 2), hosts)} ${136 + size}L${x} ${196 - small}` });
          draw("circle", { class: "host asleep", cx: x, cy: 196, r: small });
        }
      }
      draw("text", { x: (left + right) / 2, y: 228, "text-anchor": "middle" }, workers > 2 ? `worker ${worker + 1}` : `worker process ${worker + 1}`);
    }
  }

  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  bench.hidden = false;
  update();
})();
