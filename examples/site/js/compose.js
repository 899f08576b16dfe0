// The composer of the start page: what is served, three choices, the command they make, and a picture of what then runs.
(() => {
  "use strict";
  const bench = document.getElementById("compose");
  const form = bench.querySelector("form");
  const picture = document.getElementById("c-picture");
  const CLIENTS = 8;
  const EACH = new Set(["process", "thread"]);
  const BLOCKING = new Set(["iterative", "process", "thread", "thread-pool"]);
  const COMMANDS = {
    wsgi: "allcomers run mysite.wsgi",
    asgi: "allcomers run main:app",
    web: "allcomers run hello.py:Hello",
    site: "allcomers serve public",
    service: "allcomers run echo.py:Echo",
  };

  function draw(name, attributes, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text) element.textContent = text;
    picture.append(element);
    return element;
  }

  const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

  // A part of the command, which a narrow page is not to break, and the space after it.
  function unbroken(part) {
    const element = document.createElement("span");
    element.textContent = part;
    return [element, " "];
  }

  // Where the calls of these choices run: inline, pool, auto; tasks (of the event loop) or steps (one call at a time).
  function whereOf(app, model, calls) {
    const blocks = BLOCKING.has(model);
    if (app === "asgi") return blocks ? "steps" : "tasks";
    return calls === "auto" && blocks ? "inline" : calls;
  }

  function update() {
    const app = form.app.value;
    const model = form.model.value;
    const calls = form.calls.value;
    const workers = Number(form.workers.value);
    const threads = Number(form.threads.value);
    const where = whereOf(app, model, calls);
    document.getElementById("c-workers-value").textContent = workers;
    document.getElementById("c-threads-value").textContent = threads;
    const useful = where === "pool" || where === "auto" || model === "thread-pool";
    form.threads.disabled = !useful;
    document.getElementById("c-calls").disabled = app === "asgi";
    const parts = [COMMANDS[app], `--model ${model}`];
    if (workers > 1) parts.push(`--workers ${workers}`);
    if (app !== "asgi") parts.push(`--calls ${calls}`);
    if (useful) parts.push(`--threads ${threads}`);
    document.getElementById("c-command").replaceChildren(...parts.flatMap(unbroken).slice(0, -1));
    document.getElementById("c-words").textContent = `${waiting(model, workers, threads)} ${calling(model, calls, where, threads)}`;
    paint(model, workers, where, threads);
  }

  function waiting(model, workers, threads) {
    const who = plural(workers, "process", "processes");
    const verb = workers === 1 ? "accepts" : "accept";
    const each = workers === 1 ? "" : " in each process";
    let waits;
    if (model === "iterative") waits = "each client is served to its end before the next";
    else if (model === "process") waits = "every connection gets a child process that waits for it alone";
    else if (model === "thread") waits = "every connection gets a thread that waits for it alone";
    else if (model === "thread-pool") waits = `${plural(threads, "thread", "threads")}${each} ${threads === 1 ? "serves one connection at a time" : "serve one connection each at a time"}`;
    else waits = `one ${model} loop${each} waits for all of its sockets`;
    return `${who} ${verb}; ${waits}.`;
  }

  function calling(model, calls, where, threads) {
    const pool = plural(threads, "thread", "threads");
    if (where === "tasks") return "Each call of an async app is a task of that loop, whatever --calls says: while one awaits, another goes on.";
    if (where === "steps") return "Each call of an async app runs to its end in the thread of its client, and there are no WebSockets.";
    if (where === "pool") return `Calls go to a pool of ${pool} a process, so a slow call holds up nobody else’s bytes.`;
    if (where === "auto" && model === "asyncio") return `Calls run on the loop’s own thread until one of them waits; from then on a pool of ${pool} has them, until they are quick again.`;
    if (where === "auto") return `Calls run on the loop’s own thread. When one waits, it keeps that thread, and the loop moves on to another of ${threads + 1}: so a slow call holds up nobody for long.`;
    const inline = "Calls run where the bytes were read: nothing is handed over, and a slow call holds up whoever shares that thread.";
    return calls === "auto" ? `There is no loop that could move on, so auto is inline here. ${inline}` : inline;
  }

  function hostsOf(model, threads, clients) {
    if (EACH.has(model)) return clients;
    return model === "thread-pool" ? threads : 1;
  }

  // Under the host of the loop: a fan of threads that it hands calls to; a chain of threads along which it moves itself;
  // or the tasks that it runs.
  function paintCalls(where, from, at, threads, clients, room) {
    if (where === "tasks") {
      for (let task = 0; task < clients; task += 1) {
        const x = at(task, clients);
        draw("path", { class: "wire", d: `M${from.x} ${from.y}L${x} 186` });
        draw("rect", { class: "host", x: x - 6, y: 186, width: 12, height: 12, rx: 3 });
      }
    } else if (where === "pool" || where === "auto") {
      const small = Math.min(9, room / threads / 2 - 2);
      for (let thread = 0; thread < threads; thread += 1) {
        const x = at(thread, threads);
        if (where === "pool") draw("path", { class: "wire shut", d: `M${from.x} ${from.y}L${x} ${196 - small}` });
        else if (thread === 0) draw("path", { class: "wire moves", d: `M${from.x} ${from.y}Q${x} ${from.y} ${x} ${196 - small}` });
        else draw("path", { class: "wire moves", d: `M${at(thread - 1, threads) + small} 196H${x - small}` });
        draw("circle", { class: "host asleep", cx: x, cy: 196, r: small });
      }
    }
  }

  function paint(model, workers, where, threads) {
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
      paintCalls(where, { x: at(Math.floor(hosts / 2), hosts), y: 136 + size }, at, threads, clients, right - left);
      for (let host = 0; host < hosts; host += 1) {
        if (model === "process") {
          draw("rect", { class: "host", x: at(host, hosts) - size, y: 136 - size, width: size * 2, height: size * 2, rx: 3 });
        } else {
          draw("circle", { class: hosts === 1 ? "host busy" : "host", cx: at(host, hosts), cy: 136, r: size });
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
