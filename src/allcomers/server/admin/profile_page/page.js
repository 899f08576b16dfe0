"use strict";
// Stacks now, and samples as a flame graph: the outermost call on top, as wide as the time in which it was there.

const $ = (id) => document.getElementById(id);
const ROW = 18; // pixels of a call's height
const state = { file: null, root: null, zoom: null };

const made = (name, text, kind) => {
  const part = document.createElement(name);
  if (text) part.textContent = text;
  if (kind) part.className = kind;
  return part;
};

const kindOf = (file) =>
  /\/allcomers\/(?!tests)/.test(file) && /site-packages|\/src\//.test(file) ? "server"
    : !file || /site-packages|\/lib\/python|^</.test(file) ? "library" : "app";

// ---------------------------------------------------------------- samples

const tree = (file, chosen) => {
  const root = { name: "all", file: "", line: 0, weight: 0, own: 0, below: new Map(), parent: null };
  for (const profile of chosen === "" ? file.profiles : [file.profiles[Number(chosen)]]) {
    profile.samples.forEach((stack, at) => {
      const weight = profile.weights[at];
      let node = root;
      root.weight += weight;
      for (const number of stack) {
        if (!node.below.has(number)) {
          node.below.set(number, { ...file.shared.frames[number], weight: 0, own: 0, below: new Map(), parent: node });
        }
        node = node.below.get(number);
        node.weight += weight;
      }
      node.own += weight;
    });
  }
  return root;
};

const draw = () => {
  const svg = $("flame"), width = svg.clientWidth, word = $("search").value.toLowerCase();
  const top = state.zoom || state.root;
  const parts = [];
  let depth = 0;
  const put = (node, x, y, scale) => {
    const wide = node.weight * scale;
    if (wide < 0.5) return;
    depth = Math.max(depth, y + 1);
    parts.push([node, x, y, wide]);
    let next = x;
    for (const child of [...node.below.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
      put(child, next, y + 1, scale);
      next += child.weight * scale;
    }
  };
  if (top && top.weight) put(top, 0, 0, width / top.weight);
  svg.style.height = `${depth * ROW}px`;
  svg.replaceChildren(...parts.flatMap(([node, x, y, wide]) => shape(node, x, y, wide, word)));
  $("whole").hidden = !state.zoom;
};

const shape = (node, x, y, wide, word) => {
  const space = "http://www.w3.org/2000/svg";
  const rect = document.createElementNS(space, "rect");
  const isFound = word && `${node.name} ${node.file}`.toLowerCase().includes(word);
  for (const [name, value] of Object.entries({ x, y: y * ROW, width: wide, height: ROW })) rect.setAttribute(name, value);
  rect.setAttribute("class", isFound ? "found" : kindOf(node.file));
  rect.addEventListener("click", () => { state.zoom = node === state.root ? null : node; draw(); });
  rect.addEventListener("mousemove", () => { $("detail").textContent = told(node); });
  if (wide < 30) return [rect];
  const text = document.createElementNS(space, "text");
  text.setAttribute("x", x + 3);
  text.setAttribute("y", y * ROW + 13);
  text.textContent = node.name.slice(0, Math.max(0, Math.floor((wide - 6) / 7)));
  return [rect, text];
};

const told = (node) => {
  const share = (weight) => `${weight.toFixed(2)} s (${((100 * weight) / state.root.weight).toFixed(1)} %)`;
  const place = node.file ? `, ${node.file}:${node.line}` : "";
  return `${node.name}${place}: ${share(node.weight)}, itself ${share(node.own)}`;
};

const choose = () => {
  state.root = tree(state.file, $("thread").value);
  state.zoom = null;
  draw();
};

const take = async () => {
  const seconds = Number($("seconds").textContent);
  $("take").disabled = true;
  let left = seconds;
  const tick = setInterval(() => { left -= 1; $("state").textContent = `${Math.max(0, left)} s left`; }, 1000);
  $("state").textContent = `${left} s left`;
  try {
    const answer = await fetch(`/profile.json?seconds=${seconds}`);
    const text = await answer.text();
    if (!answer.ok) throw new Error(text);
    show(JSON.parse(text), text);
  } catch (error) {
    $("state").textContent = `no samples: ${error.message}`;
  } finally {
    clearInterval(tick);
    $("take").disabled = false;
  }
};

const show = (file, text) => {
  state.file = file;
  $("state").textContent = file.profiles.length ? "" : "no worker has answered";
  $("choice").hidden = $("key").hidden = !file.profiles.length;
  $("download").hidden = !file.profiles.length;
  $("download").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  $("download").download = `${file.name.replace(/[ :]/g, "-")}.speedscope.json`;
  $("thread").replaceChildren(new Option("all together", ""), ...file.profiles.map((one, at) => new Option(one.name, at)));
  if (file.profiles.length) $("thread").value = "0"; // the one that used most CPU time
  choose();
};

// ---------------------------------------------------------------- stacks now

const line = ([name, file, number, source]) => {
  const item = made("li", `${name}  ${file}:${number}`, kindOf(file) === "server" ? "ours" : "");
  if (source) item.append(made("code", source));
  return item;
};

const thread = (one) => {
  const part = made("details");
  const last = one.stack.at(-1);
  part.append(made("summary", `${one.kind} ${one.name}${last ? `: ${last[0]}` : ""}`));
  const list = made("ol");
  list.append(...one.stack.map(line));
  part.append(list);
  return part;
};

const look = async () => {
  $("look").disabled = true;
  try {
    const answer = await fetch("/stacks.json");
    if (!answer.ok) throw new Error(await answer.text());
    const { time, workers } = await answer.json();
    $("when").textContent = new Date(time * 1000).toISOString();
    $("stacks").replaceChildren(...workers.flatMap((worker) => [
      made("h3", `worker ${worker.place} (${worker.pid})`),
      ...(worker.answer ? worker.answer.map(thread) : [made("p", worker.error)]),
    ]));
  } catch (error) {
    $("when").textContent = `no stacks: ${error.message}`;
  } finally {
    $("look").disabled = false;
  }
};

$("take").addEventListener("click", take);
$("look").addEventListener("click", look);
$("thread").addEventListener("change", choose);
$("search").addEventListener("input", () => state.root && draw());
$("whole").addEventListener("click", () => { state.zoom = null; draw(); });
addEventListener("resize", () => state.root && draw());
