"use strict";
// The slider "what if the goal is p99 < X": it shows what the lab says for that goal, of the values that the page has for
// each (what_if.py and board.py). It decides nothing by itself.

(() => {
  const { own, goals, limits, rates, verdicts } = JSON.parse(document.getElementById("what-if-data").textContent);
  const at = (id) => document.getElementById(id);
  const slider = at("what-if-limit");
  const plot = charts.made.candidates;
  const rows = [...document.querySelectorAll("#board .candidate")];
  const most = Math.max(...rates.flat());

  function show(place) {
    const { run, why, next } = verdicts[place];
    at("what-if-goal").textContent = charts.format.seconds(limits[place]);
    slider.setAttribute("aria-valuetext", `p99 below ${charts.format.seconds(limits[place])}`);
    at("what-if-run").textContent = run;
    at("what-if-why").textContent = why;
    at("what-if-next").replaceChildren(...next.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    for (const id of ["what-if-why", "what-if-next"]) at(id).hidden = place === own;
    at("what-if-same").hidden = place !== own;
    at("what-if-more").hidden = own === null || place <= own;
    at("what-if-slo").textContent = `--slo '${goals[place]}'`;
    rows.forEach((row, candidate) => {
      const rate = rates[place][candidate];
      row.classList.toggle("recommended", run === `Run ${row.dataset.name}.`);
      row.querySelector(".rate i").style.width = `${(100 * (rate || 0)) / most}%`;
      row.querySelector(".rate b").textContent = rate === null ? "missed" : charts.format.number(rate);
    });
    plot.u.redraw(false);
  }

  plot.u.hooks.draw.push((u) => {
    const x = u.valToPos(limits[slider.valueAsNumber], "x", true);
    u.ctx.save();
    u.ctx.strokeStyle = charts.css("--wait");
    u.ctx.lineWidth = 2 * devicePixelRatio;
    u.ctx.beginPath();
    u.ctx.moveTo(x, u.bbox.top);
    u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
    u.ctx.stroke();
    u.ctx.restore();
  });
  rows.forEach((row, candidate) => {
    row.addEventListener("mouseenter", () => plot.u.setSeries(candidate + 1, { focus: true }));
    row.addEventListener("mouseleave", () => plot.u.setSeries(null, { focus: true }));
  });
  slider.addEventListener("input", () => show(slider.valueAsNumber));
  show(slider.valueAsNumber);
})();
