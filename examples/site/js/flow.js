// The table of the start page: what the browser's own timings say about this visit.
(() => {
  "use strict";
  const table = document.getElementById("flow-table");
  const body = table.tBodies[0];

  const bytes = (entry) => (entry.transferSize ? entry.transferSize.toLocaleString("en") : "from cache");
  const name = (entry) => new URL(entry.name).pathname.split("/").pop() || "index.html";

  function bar(kind, from, to, whole) {
    const piece = document.createElement("i");
    piece.className = kind;
    piece.style.left = `${(from / whole) * 100}%`;
    piece.style.width = `${(Math.max(0, to - from) / whole) * 100}%`;
    return piece;
  }

  function row(entry, whole) {
    const line = body.insertRow();
    line.insertCell().textContent = name(entry);
    line.insertCell().textContent = bytes(entry);
    line.insertCell().textContent = `${entry.duration.toFixed(1)} ms`;
    const cell = line.insertCell();
    cell.className = "track";
    const track = document.createElement("div");
    const first = entry.responseStart || entry.responseEnd;
    track.append(bar("waits", entry.startTime, first, whole), bar("comes", first, entry.responseEnd, whole));
    cell.append(track);
  }

  function show() {
    const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
    const whole = Math.max(...entries.map((entry) => entry.responseEnd));
    body.replaceChildren();
    for (const entry of entries) row(entry, whole);
    table.hidden = false;
  }

  async function ask() {
    // A HEAD request: the same head as for GET, and no body.
    const answer = await fetch(location.pathname, { method: "HEAD", cache: "no-store" });
    await answer.text(); // empty, but read to its end: the browser counts it as done, not as broken off
    const server = answer.headers.get("server");
    if (server) document.getElementById("flow-server").textContent = `The server calls itself “${server}”.`;
  }

  addEventListener("load", () => setTimeout(() => { show(); ask().catch(() => {}); }, 60));
})();
