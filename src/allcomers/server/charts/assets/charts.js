"use strict";
// Draws each figure of class "chart" from the JSON within it (chart.py has its fields), by uPlot. Charts of one x-axis
// share crosshair and zoom; a name that is hidden in one chart is hidden in all.

const charts = (() => {
  const made = {}; // Plot by the id of its figure
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (number) => (typeof number === "number" ? `--c${number}` : `--${number}`);

  // ---------------------------------------------------------------- figures for people: units.py writes the same

  const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

  function number(value) {
    if (value === 0) return "0";
    const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
    return value.toLocaleString("en-US", { maximumFractionDigits: Math.min(digits, 100) });
  }

  function scaled(value, units) {
    const [size, unit] = units.find(([size]) => value >= size) || units.at(-1);
    return `${number(value / size)} ${unit}`;
  }

  const seconds = (value) => (value === 0 ? "0" : scaled(value, [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]]));
  const bytes = (value) => (value < 1000 ? `${value.toLocaleString("en-US", { maximumFractionDigits: 0 })} B` : scaled(value, [[1e9, "GB"], [1e6, "MB"], [1e3, "KB"]]));
  const plain = {
    number, seconds, bytes,
    rate: (value) => `${number(value)}/s`,
    "bytes/s": (value) => `${bytes(value)}/s`,
    share: (value) => `${number(value * 100)} %`,
    times: (value) => `${number(value)}×`,
    percentile: (value) => `${Number((100 - 100 / value).toPrecision(6))} %`,
    clock: (value) => clock(value),
  };
  const format = Object.fromEntries(Object.entries(plain).map(([unit, write]) => [unit, (value) => (isKnown(value) ? write(value) : "–")]));

  function clock(value) { // seconds since 1970, as the reader's clock has them
    const at = new Date(value * 1000);
    return [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
  }

  // ---------------------------------------------------------------- scales: picture.py has the same rules

  function ends(axis, values) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) if (isKnown(value) && (value > 0 || !axis.log)) [low, high] = [Math.min(low, value), Math.max(high, value)];
    if (low > high) [low, high] = [1, 1];
    if (axis.log) [low, high] = high < low * 3 ? [low * 0.87, high * 1.15] : [low * 0.8, high * 1.25];
    else [low, high] = [Math.min(0, low), Math.max(high * 1.05 || 1, axis.least ?? 0)];
    return [axis.low ?? low, axis.high ?? high];
  }

  function ticks(axis, low, high, most) {
    if (axis.unit === "clock") return clockTicks(low, high, most);
    if (!axis.log) {
      const raw = (high - low) / most;
      const power = 10 ** Math.floor(Math.log10(raw));
      const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw * 0.9999);
      const first = Math.ceil(low / step - 1e-9);
      return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, at) => (first + at) * step);
    }
    let found = [];
    for (const steps of axis.unit === "percentile" ? [[1]] : [[1, 1.5, 2, 3, 4, 5, 6, 8], [1, 2, 5], [1, 3], [1]]) {
      found = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
        found.push(...steps.map((step) => step * 10 ** power).filter((value) => low <= value && value <= high));
      }
      if (found.length <= most) break;
    }
    return found;
  }

  function clockTicks(low, high, most) {
    const step = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].find((size) => (high - low) / size <= most) || 7200;
    const first = Math.ceil(low / step);
    return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, at) => (first + at) * step);
  }

  // ---------------------------------------------------------------- lines

  class Plot {
    constructor(figure, spec) {
      Object.assign(this, { figure, spec, zoom: null });
      this.place = figure.querySelector(".plot");
      this.caption();
      const lines = spec.series.flatMap((one) => [one, ...(one.fit?.length ? [{ ...one, points: one.fit, isFit: true }] : [])]);
      this.columns = aligned(lines);
      this.u = new uPlot(this.options(lines), this.columns, this.place);
      for (const key of this.place.querySelectorAll(".u-series:not(:first-child) th")) {
        key.tabIndex = 0;
        key.setAttribute("role", "button");
        key.title = "hide or show";
        key.addEventListener("keydown", (event) => event.key === "Enter" && key.click());
      }
      new ResizeObserver(() => this.fit()).observe(this.place);
    }

    caption() {
      const caption = this.figure.querySelector("figcaption");
      const key = document.createElement("span");
      key.className = "soft";
      key.textContent = this.spec.y.label;
      this.reset = document.createElement("button");
      Object.assign(this.reset, { type: "button", textContent: "reset zoom", hidden: true });
      this.reset.addEventListener("click", () => zoomAll(this, null));
      caption.append(key, this.reset);
    }

    get group() { return this.spec.group || `${this.spec.x.title} ${this.spec.x.unit}`; }

    size() {
      const width = Math.max(200, Math.floor(this.place.clientWidth));
      return { width, height: this.figure.classList.contains("wide") && width > 600 ? 300 : width > 400 ? 240 : 200 };
    }

    fit() { if (this.place.clientWidth && this.size().width !== this.u.width) this.u.setSize(this.size()); }

    options(lines) {
      const { spec } = this;
      return {
        ...this.size(),
        legend: { live: true, markers: { width: 0, fill: (_, at) => (at ? `var(${colour(lines[at - 1].colour)})` : "none") } },
        focus: { alpha: lines.length > 3 ? 0.35 : 1 },
        cursor: {
          sync: { key: this.group, scales: ["x", null] },
          focus: { prox: 24 },
          drag: { x: true, y: false, setScale: false },
          points: { fill: (_, at) => `var(${colour(lines[at - 1].colour)})`, width: 0, size: 8 },
          bind: { dblclick: () => () => zoomAll(this, null) },
        },
        scales: {
          x: { time: false, distr: spec.x.log ? 3 : 1, range: () => this.across() },
          y: { distr: spec.y.log ? 3 : 1, range: (_, low, high) => ends(spec.y, [low, high, ...(spec.marks || []).map((mark) => mark.at), ...(spec.cells || []).flatMap((cell) => cell.y)]) },
        },
        axes: [this.axis(spec.x, 64, { label: spec.x.label || undefined, labelSize: 16, size: 26 }), this.axis(spec.y, 40, { size: widest })],
        series: [{ label: spec.x.title || "at", value: (_, value) => format[spec.x.unit](value) }, ...lines.map((one) => this.line(one))],
        hooks: {
          drawAxes: [(u) => this.behind(u)],
          draw: [(u) => { this.marks(u); this.events(u); }],
          setSeries: [(u, at, changed) => changed.show !== undefined && showAll(u.series[at].label, changed.show)],
          setSelect: [(u) => this.selected(u)],
        },
      };
    }

    axis(axis, apart, more) {
      return {
        stroke: () => css("--soft"), font: `11px ${getComputedStyle(document.body).fontFamily}`, labelFont: "11px system-ui, sans-serif",
        grid: { stroke: () => css("--rule"), width: 1 }, ticks: { show: false }, border: { show: false }, gap: 4,
        splits: (u, at, low, high) => ticks(axis, low, high, Math.max(2, Math.floor((at ? u.bbox.height : u.bbox.width) / devicePixelRatio / apart))),
        values: (_, splits) => splits.map(format[axis.unit]), filter: (_, splits) => splits, ...more,
      };
    }

    line(one) {
      const count = one.points?.length ?? 0;
      const stroke = () => css(colour(one.colour));
      return {
        label: one.name, class: one.isFit ? "fit" : "line", stroke, width: one.isFit ? 1.5 : 2, spanGaps: !this.spec.gaps,
        dash: one.isFit ? [2, 4] : one.dashed ? [6, 4] : undefined,
        fill: one.filled ? () => `${stroke()}24` : undefined,
        paths: one.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
        points: { show: !one.isFit && !one.stepped && count > 0 && count <= 20, size: 6, fill: stroke, width: 0 },
        value: (_, value) => format[this.spec.y.unit](value),
      };
    }

    // Put an element of class "event" at each of the spec's events, over the lines; its text is a tooltip.
    events(u) {
      for (const old of u.over.querySelectorAll(".event")) old.remove();
      for (const { at, kind, text } of this.spec.events || []) {
        if (at < u.scales.x.min || at > u.scales.x.max) continue;
        const mark = styled(part("i", "event"), { left: `${u.valToPos(at, "x")}px` });
        mark.dataset.kind = kind;
        mark.title = text;
        u.over.append(mark);
      }
    }

    // The ends of the x-axis: of the zoom, or of all points.
    across() { return this.zoom || ends(this.spec.x, [this.columns[0][0], this.columns[0].at(-1)].concat((this.spec.cells || []).flatMap((cell) => cell.x))); }

    // Zoom this chart and those of its group; null resets.
    zoomed(zoom) { zoomAll(this, zoom); }

    show(zoom) {
      this.zoom = zoom;
      this.reset.hidden = !zoom;
      const [min, max] = this.across();
      this.u.setScale("x", { min, max });
    }

    // Take new values: x, then those of each series; null where there is none.
    set(columns) {
      this.columns = columns;
      const [min, max] = this.across();
      this.u.batch(() => { this.u.setData(columns, false); this.u.setScale("x", { min, max }); });
    }

    selected(u) {
      const { left, width } = u.select;
      if (width < 6) return;
      const zoom = [u.posToVal(left, "x"), u.posToVal(left + width, "x")];
      u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      zoomAll(this, zoom);
    }

    behind(u) {
      const { ctx, bbox } = u;
      const cells = this.spec.cells || [];
      if (!cells.length) return;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      ctx.fillStyle = css(this.spec.shade ? `--${this.spec.shade}` : "--c0");
      for (const { x, y, share } of cells) {
        const [left, right] = x.map((value) => u.valToPos(value, "x", true));
        const [bottom, top] = y.map((value) => u.valToPos(value, "y", true));
        ctx.globalAlpha = 0.1 + 0.7 * share;
        ctx.fillRect(left, top, Math.max(right - left, 1), Math.max(bottom - top, 1));
      }
      ctx.restore();
    }

    marks(u) {
      const { ctx, bbox } = u;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = css("--soft");
      ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
      ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
      for (const { at, text } of this.spec.marks || []) {
        const y = u.valToPos(at, "y", true);
        if (y < bbox.top || y > bbox.top + bbox.height) continue;
        ctx.beginPath();
        ctx.moveTo(bbox.left, y);
        ctx.lineTo(bbox.left + bbox.width, y);
        ctx.stroke();
        ctx.fillText(text, bbox.left + 6, y - 5);
      }
      ctx.restore();
    }
  }

  const widest = (_, values) => 14 + 6.3 * Math.max(3, ...(values || []).map((text) => String(text).length));

  // Return one column of all x, then one of each line: uPlot wants them on common x.
  function aligned(lines) {
    const all = [...new Set(lines.flatMap((one) => (one.points || []).map(([x]) => x)))].sort((a, b) => a - b);
    return [all, ...lines.map((one) => {
      const own = new Map(one.points || []);
      return all.map((x) => own.get(x) ?? null);
    })];
  }

  const plots = () => Object.values(made).filter((one) => one instanceof Plot);

  function zoomAll(plot, zoom) {
    for (const one of plots()) if (one.group === plot.group) one.show(zoom);
  }

  function showAll(name, isShown) {
    for (const { u } of plots()) {
      u.series.forEach((one, at) => { if (at && one.label === name && one.show !== isShown) u.setSeries(at, { show: isShown }); });
    }
  }

  // ---------------------------------------------------------------- rows: a dot and its interval

  function rows(figure, { axis, rows, mark }) {
    const known = rows.filter((row) => row.value > 0 && isKnown(row.low) && isKnown(row.high));
    const [low, high] = ends(axis, known.flatMap((row) => [row.value, row.low, row.high]).concat(mark || []));
    const at = (value) => `${100 * Math.min(1, Math.max(0, axis.log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low)))}%`;
    const place = figure.querySelector(".plot");
    place.classList.add("rows");
    place.replaceChildren(...rows.flatMap((row) => {
      const track = part("span", "track");
      if (mark) track.append(styled(part("u"), { left: at(mark) }));
      if (known.includes(row)) {
        const background = `var(--c${row.colour})`;
        const start = at(Math.max(row.low, axis.log ? low : 0));
        track.append(styled(part("i"), { left: start, right: `calc(100% - ${at(row.high)})`, background }));
        track.append(styled(part("b"), { left: at(row.value), background }));
        track.title = `${row.name}: ${format[axis.unit](row.value)}` + (row.high > row.low ? `, ${format[axis.unit](row.low)} to ${format[axis.unit](row.high)}` : "");
      }
      return [part("span", "", row.name), track, part("span", "label", row.label)];
    }));
    const under = part("span", "axis");
    under.append(part("span", "", format[axis.unit](low)), part("span", "", axis.label), part("span", "", format[axis.unit](high)));
    place.append(under);
  }

  function part(tag, kind = "", text = "") {
    const made = document.createElement(tag);
    made.className = kind;
    made.textContent = text;
    return made;
  }

  const styled = (element, style) => { Object.assign(element.style, style); return element; };

  // ---------------------------------------------------------------- the page

  function make(figure, spec) {
    if (spec.rows) rows(figure, spec);
    made[figure.id] = spec.rows ? spec : new Plot(figure, spec);
    return made[figure.id];
  }

  function redraw() { for (const { u } of plots()) u.redraw(false, true); }

  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", redraw);
  for (const figure of document.querySelectorAll("figure.chart")) {
    const data = figure.querySelector("script[type='application/json']");
    if (data) make(figure, JSON.parse(data.textContent));
  }
  return { make, made, format, redraw, ticks, css };
})();
