// The film's chapters, what of it the browser holds, and a request for a part of it.
(() => {
  "use strict";
  const film = document.getElementById("film");
  const list = document.getElementById("chapters");
  const loaded = document.getElementById("loaded");
  const words = document.getElementById("loaded-words");

  function chapters() {
    const track = [...film.textTracks].find((one) => one.kind === "chapters");
    if (!track?.cues || list.children.length) return;
    for (const cue of track.cues) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = cue.text;
      button.addEventListener("click", () => {
        film.currentTime = cue.startTime + 0.01;
        film.play().catch(() => {});
      });
      const item = document.createElement("li");
      item.append(button);
      list.append(item);
    }
    document.getElementById("chapters-bar").hidden = false;
  }

  function held() {
    if (!film.duration) return;
    loaded.replaceChildren();
    let sum = 0;
    for (let i = 0; i < film.buffered.length; i += 1) {
      const [from, to] = [film.buffered.start(i), film.buffered.end(i)];
      const part = document.createElement("i");
      part.style.left = `${(from / film.duration) * 100}%`;
      part.style.width = `${((to - from) / film.duration) * 100}%`;
      loaded.append(part);
      sum += to - from;
    }
    words.textContent = `Your browser holds ${sum.toFixed(0)} of ${film.duration.toFixed(0)} seconds of the film.`;
  }

  for (const track of film.textTracks) if (track.kind === "chapters") track.mode = "hidden"; // so that it is loaded
  film.querySelector("track[kind=chapters]").addEventListener("load", chapters);
  chapters();
  for (const event of ["loadedmetadata", "progress", "timeupdate", "seeked"]) film.addEventListener(event, held);

  const form = document.querySelector("#ask form");
  const shown = document.getElementById("r-answer");
  const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");

  async function ask(range) {
    const options = range ? { headers: { Range: range }, cache: "no-store" } : { method: "HEAD", cache: "no-store" };
    const answer = await fetch("video/waiting.webm", options);
    const lines = [`${answer.status} ${answer.statusText}`.trim()];
    for (const name of ["content-range", "content-length", "content-type", "accept-ranges", "etag", "last-modified"]) {
      if (answer.headers.has(name)) lines.push(`${name}: ${answer.headers.get(name)}`);
    }
    lines.push("");
    if (answer.status === 200 && range) {
      await answer.body.cancel();
      lines.push("This server does not know Range: it began to send the whole file.");
    } else if (range) {
      const bytes = new Uint8Array(await answer.arrayBuffer());
      lines.push(answer.headers.get("content-type")?.match(/^(multipart|text)/) ? new TextDecoder("latin1").decode(bytes).replace(/[^\n\x20-\x7e]/g, "·") : hex(bytes));
    }
    shown.textContent = lines.join("\n").trimEnd();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(document.getElementById("r-range").value).catch((error) => { shown.textContent = `No answer: ${error.message}`; });
  });
  document.getElementById("ask").hidden = false;
})();
