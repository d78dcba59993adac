"use strict";
// A table in the browser: data comes as scripts (a page from a file may load nothing else), numbers as base64 of integers.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const NONE = 65535;
const STATUS = { o: "ok", d: "diverged", f: "failed" };
const state = { index: null, spaces: {}, tasks: {}, task: null, space: null, picked: null };

// ---------------------------------------------------------------- reading
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
const series = (held) => {
  const codes = new Uint16Array(bytes(held.data));
  const step = (held.high - held.low) / (NONE - 1);
  const out = Float64Array.from(codes, (code) => (code === NONE ? NaN : held.low + step * code));
  return held.log ? out.map(Math.exp) : out;
};

globalThis.metabench = {
  index(held) { state.index = held; begin(); },
  configs(workload, held) { state.spaces[workload] = held; },
  task(id, held) {
    state.tasks[id] = {
      ...held,
      ids: new BigInt64Array(bytes(held.run_id)),
      cut: { valid: held.valid.cut, test: held.test.cut },
      worse: Object.fromEntries(["valid", "test"].map((name) => {
        const all = series(held[name]).filter((v) => !Number.isNaN(v));
        return [name, state.index.tasks.find((t) => t.id === id).direction === "min" ? all.reduce((a, b) => Math.max(a, b), -Infinity) : all.reduce((a, b) => Math.min(a, b), Infinity)];
      })),
      valid: series(held.valid), test: series(held.test), loss: series(held.loss), seconds: series(held.seconds),
    };
  },
};

const fetched = {};
const load = (file) =>
  (fetched[file] ??= new Promise((done, fail) => {
    const script = document.createElement("script");
    script.src = file;
    script.onload = done;
    script.onerror = () => { delete fetched[file]; fail(new Error(`${file} cannot be read`)); };
    document.head.append(script);
  }));

// ---------------------------------------------------------------- words and numbers
const short = (v) => {
  if (v === null || v === undefined || Number.isNaN(v)) return "–";
  if (typeof v === "string") return v;
  const size = Math.abs(v);
  const text = v !== 0 && (size < 1e-3 || size >= 1e5) ? v.toExponential(2).replace(/\.?0*e/, "e") : String(Number(v.toPrecision(4)));
  return text.replace("-", "−");
};
const better = () => (["loss", "seconds"].includes($("measure").value) ? -1 : facts().direction === "min" ? -1 : 1);
const facts = () => state.index.tasks.find((t) => t.id === $("task").value);
const over = () => ($("measure").value === "seconds" ? 1 : state.task.epochs.length);

// mean over seeds of each configuration at a checkpoint; NaN where a seed has none
const means = () => {
  const t = state.task, measure = $("measure").value, n = t.status.length / t.seeds, points = over();
  const at = measure === "seconds" ? 0 : Number($("epoch").value);
  return Float64Array.from({ length: n }, (_, c) => {
    let sum = 0;
    for (let s = 0; s < t.seeds; s++) sum += t[measure][(c * t.seeds + s) * points + at];
    return sum / t.seeds;
  });
};

// place of each value among all, 0 worst … 1 best; what has none is worst
const places = (values) => {
  const sign = better(), order = [...values.keys()];
  const key = (i) => (Number.isNaN(values[i]) ? -Infinity : sign * values[i]);
  order.sort((a, b) => key(a) - key(b) || b - a);
  const out = new Float64Array(values.length);
  order.forEach((c, i) => { out[c] = order.length > 1 ? i / (order.length - 1) : 1; });
  return { of: out, order: order.reverse() };
};

// ---------------------------------------------------------------- where a value stands on an axis, 0 … 1; null: inactive
const warp = (p, v) => (p.log ? Math.log(v) : p.reverse ? -Math.log1p(-v) : v);
const unit = (p, v) => {
  if (v === null) return null;
  if (p.options) return (p.options.indexOf(v) + 0.5) / p.options.length;
  return (warp(p, v) - warp(p, p.low)) / (warp(p, p.high) - warp(p, p.low));
};
const ticks = (p) => {
  if (p.options) return p.options.map((o) => [unit(p, o), String(o)]);
  const found = [];
  if (p.log) {
    const wide = Math.log10(p.high / p.low) > 2.2;
    for (let e = Math.floor(Math.log10(p.low)); e <= Math.ceil(Math.log10(p.high)); e++)
      for (const d of wide ? [1] : [1, 2, 5]) found.push(d * 10 ** e);
  } else if (p.reverse) {
    found.push(0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999);
  } else {
    const raw = (p.high - p.low) / 4, size = 10 ** Math.floor(Math.log10(raw));
    let step = [1, 2, 5, 10].map((m) => m * size).find((s) => s >= raw * (1 - 1e-9));
    if (p.type === "int") step = Math.max(1, Math.round(step));
    for (let i = Math.ceil(p.low / step - 1e-9); i * step <= p.high * (1 + 1e-9); i++) found.push(i * step);
  }
  const inside = found.filter((v) => v >= p.low * (1 - 1e-9) && v <= p.high * (1 + 1e-9));
  return inside.map((v) => [unit(p, v), short(Number(v.toPrecision(10)))]);
};
// dots of equal choices are strewn a little, always alike
const strewn = (c, salt) => (((Math.imul(c + 1, 2654435761) ^ Math.imul(salt, 40503)) >>> 0) / 2 ** 32 - 0.5);

// ---------------------------------------------------------------- drawing
const mark = (tag, attributes, text) => {
  const made = document.createElementNS(SVG, tag);
  for (const [k, v] of Object.entries(attributes)) made.setAttribute(k, v);
  if (text !== undefined) made.textContent = text;
  return made;
};
const colour = (u) => {
  const far = Math.round(Math.abs(u - 0.5) * 200);
  return `color-mix(in oklab, var(${u < 0.5 ? "--c2" : "--c1"}) ${far}%, var(--dim))`;
};
const BOX = { left: 92, right: 588, top: 30, bottom: 412, gutter: 26 };

const layout = () => {
  const { columns, space, n } = state.space, [px, py] = [space[$("x").value], space[$("y").value]];
  const [vx, vy] = [columns[$("x").value], columns[$("y").value]];
  const pale = [vx, vy].map((v) => v.some((x) => x === null));
  const left = BOX.left + (pale[0] ? BOX.gutter : 0), bottom = BOX.bottom - (pale[1] ? BOX.gutter : 0);
  const spread = (p, u, c, salt) => (p.options ? u + (strewn(c, salt) * 0.62) / p.options.length : u);
  const spots = Array.from({ length: n }, (_, c) => {
    const ux = unit(px, vx[c]), uy = unit(py, vy[c]);
    return {
      ux, uy,
      x: ux === null ? BOX.left + BOX.gutter * (0.5 + 0.6 * strewn(c, 3)) : left + spread(px, ux, c, 1) * (BOX.right - left),
      y: uy === null ? BOX.bottom - BOX.gutter * (0.5 + 0.6 * strewn(c, 4)) : bottom - spread(py, uy, c, 2) * (bottom - BOX.top),
    };
  });
  return { spots, left, bottom, pale, px, py };
};

// smoothed mean of places over the two hyperparameters (Nadaraya & Watson, 1964), on cells
const ground = (place, at) => {
  const nx = at.px.options ? at.px.options.length : 26, ny = at.py.options ? at.py.options.length : 20, h = 2 * 0.075 ** 2;
  const cells = [];
  for (let i = 0; i < nx; i++)
    for (let j = 0; j < ny; j++) {
      const x = (i + 0.5) / nx, y = (j + 0.5) / ny;
      let weight = 0, sum = 0;
      at.spots.forEach((s, c) => {
        if (s.ux === null || s.uy === null) return;
        const dx = at.px.options ? (Math.abs(s.ux - x) < 1e-6 ? 0 : 9) : s.ux - x;
        const dy = at.py.options ? (Math.abs(s.uy - y) < 1e-6 ? 0 : 9) : s.uy - y;
        const w = Math.exp(-(dx * dx + dy * dy) / h);
        weight += w;
        sum += w * place[c];
      });
      if (weight > 0.05) cells.push([i / nx, j / ny, 1 / nx, 1 / ny, sum / weight]);
    }
  return cells;
};

const drawMap = () => {
  const values = means(), ranked = places(values), at = layout(), svg = $("map");
  state.values = values;
  state.ranked = ranked;
  state.at = at;
  const wide = BOX.right - at.left, tall = at.bottom - BOX.top, made = [];
  if (at.pale[0]) made.push(mark("rect", { x: BOX.left, y: BOX.top, width: BOX.gutter, height: BOX.bottom - BOX.top, class: "gutter" }));
  if (at.pale[1]) made.push(mark("rect", { x: BOX.left, y: at.bottom, width: BOX.right - BOX.left, height: BOX.gutter, class: "gutter" }));
  const cells = ground(ranked.of, at), seen = cells.map((c) => c[4]);
  const [low, high] = [Math.min(...seen), Math.max(...seen)];
  for (const [x, y, w, h, v] of cells)
    made.push(mark("rect", { x: at.left + x * wide, y: at.bottom - (y + h) * tall, width: w * wide, height: h * tall, class: "ground", "shape-rendering": "crispEdges",
      style: `fill:${colour(high > low ? (v - low) / (high - low) : 0.5)}` }));
  for (const [u, label] of ticks(at.px)) {
    made.push(mark("line", { x1: at.left + u * wide, x2: at.left + u * wide, y1: BOX.bottom, y2: BOX.bottom + 5, class: "axis" }));
    made.push(mark("text", { x: at.left + u * wide, y: BOX.bottom + 21, class: "tick middle" }, label));
  }
  for (const [u, label] of ticks(at.py)) made.push(mark("text", { x: BOX.left - 8, y: at.bottom - u * tall + 4.5, class: "tick end" }, label));
  made.push(mark("text", { x: (BOX.left + BOX.right) / 2, y: BOX.bottom + 46, class: "axis-title middle" }, $("x").value.replaceAll("_", " ") + (at.pale[0] ? " (left strip: inactive)" : "")));
  made.push(mark("text", { x: BOX.left, y: 18, class: "axis-title" }, $("y").value.replaceAll("_", " ") + (at.pale[1] ? " (lowest strip: inactive)" : "")));
  const size = at.spots.length > 600 ? 3.4 : 4.6;
  for (const c of [...ranked.order].reverse()) {
    const s = at.spots[c];
    made.push(mark("circle", { cx: s.x.toFixed(1), cy: s.y.toFixed(1), r: size, class: "config", style: `fill:${colour(ranked.of[c])}` }));
  }
  const first = at.spots[ranked.order[0]];
  made.push(mark("circle", { cx: first.x, cy: first.y, r: 9, class: "crown" }));
  made.push(mark("circle", { cx: -20, cy: -20, r: 7, class: "chosen", id: "chosen" }));
  svg.replaceChildren(...made);
  const known = [...values].filter((v) => !Number.isNaN(v)).map((v) => v * better());
  $("ramp-low").textContent = known.length ? `worst ${short(Math.min(...known) * better())}` : "";
  $("ramp-high").textContent = known.length ? `best ${short(Math.max(...known) * better())}` : "";
  drawBest();
  pick(state.picked !== null && state.picked < values.length ? state.picked : ranked.order[0]);
};

// ---------------------------------------------------------------- curves
const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
const drawCurves = () => {
  const t = state.task, chosen = $("measure").value, measure = chosen === "seconds" ? "valid" : chosen;
  const E = t.epochs.length, n = t.status.length / t.seeds, best = state.ranked.order[0], svg = $("curves");
  const column = (e) => Array.from({ length: n * t.seeds }, (_, r) => t[measure][r * E + e]).filter((v) => !Number.isNaN(v)).sort((a, b) => a - b);
  const columns = t.epochs.map((_, e) => column(e));
  const mean = (c) => t.epochs.map((_, e) => { let sum = 0; for (let s = 0; s < t.seeds; s++) sum += t[measure][(c * t.seeds + s) * E + e]; return sum / t.seeds; });
  const lines = [["c3", "best here", mean(best)]];
  for (let s = 0; s < t.seeds; s++) {
    const r = state.picked * t.seeds + s;
    if (t.status[r] !== " ") lines.push(["c1", `seed ${s}`, t.epochs.map((_, e) => t[measure][r * E + e])]);
  }
  const middle = [0.25, 0.5, 0.75].map((q) => columns.map((v) => (v.length ? quantile(v, q) : NaN)));
  const seen = [...lines.flatMap((l) => l[2]), ...middle.flat()].filter((v) => !Number.isNaN(v));
  const log = measure === "loss", f = log ? Math.log : (v) => v;
  let [low, high] = [Math.min(...seen), Math.max(...seen)];
  if (!(high > low)) [low, high] = [low - 0.5, low + 0.5];
  const box = { left: 66, right: 508, top: 12, bottom: 272 };
  const last = t.epochs[E - 1], X = (e) => box.left + (last > 1 ? Math.log(t.epochs[e]) / Math.log(last) : 0.5) * (box.right - box.left);
  const Y = (v) => box.bottom - ((f(v) - f(low)) / (f(high) - f(low))) * (box.bottom - box.top) * 0.96 - 5;
  const path = (v) => v.map((y, e) => [e, y]).filter(([, y]) => !Number.isNaN(y)).map(([e, y], i) => `${i ? "L" : "M"}${X(e).toFixed(1)} ${Y(y).toFixed(1)}`).join("");
  const made = [];
  for (let i = 0; i <= 4; i++) {
    const v = log ? Math.exp(f(low) + ((f(high) - f(low)) * i) / 4) : low + ((high - low) * i) / 4;
    made.push(mark("line", { x1: box.left, x2: box.right, y1: Y(v), y2: Y(v), class: "grid" }));
    made.push(mark("text", { x: box.left - 6, y: Y(v) + 4.5, class: "tick end" }, short(Number(v.toPrecision(3)))));
  }
  let free = -Infinity;
  t.epochs.forEach((e, i) => {
    if (X(i) < free) return;
    free = X(i) + 34;
    made.push(mark("text", { x: X(i), y: box.bottom + 20, class: "tick middle" }, String(e)));
  });
  made.push(mark("text", { x: (box.left + box.right) / 2, y: box.bottom + 44, class: "axis-title middle" }, "epochs (log scale)"));
  const whole = middle[0].map((v, e) => [v, middle[2][e], e]).filter(([a, b]) => !Number.isNaN(a + b));
  if (whole.length) {
    const up = whole.map(([, b, e]) => `${X(e).toFixed(1)} ${Y(b).toFixed(1)}`), down = whole.map(([a, , e]) => `${X(e).toFixed(1)} ${Y(a).toFixed(1)}`).reverse();
    made.push(mark("path", { d: `M${[...up, ...down].join("L")}Z`, class: "band reference" }));
    const g = mark("g", { class: "reference" });
    g.append(mark("path", { d: path(middle[1]), class: "line" }));
    made.push(g);
  }
  lines.forEach(([css, , v], i) => {
    const g = mark("g", { class: css });
    g.append(mark("path", { d: path(v), class: "line", ...(css === "c1" && i > 1 ? { "stroke-dasharray": ["", "7 4", "2 4", "9 3 2 3"][(i - 1) % 4] } : {}) }));
    made.push(g);
  });
  svg.replaceChildren(...made);
  const named = { valid: "Validation score", test: "Test score", loss: "Training loss" }[measure];
  $("curves-text").textContent = `${named} over epochs. ` + lines.map(([, name, v]) => `${name}: ${short(v.findLast((y) => !Number.isNaN(y)) ?? NaN)} at the end`).join("; ");
  const key = [[`c1`, `${named.toLowerCase()} of this one, a line a seed`], ["c3", "best configuration here"], ["reference", "median and middle half of all"]];
  $("curves-key").replaceChildren(...key.map(([css, words]) => {
    const li = document.createElement("li");
    li.className = css;
    const line = mark("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" });
    line.append(mark("path", { d: "M1 5H25", class: "line" }));
    li.append(line, words);
    return li;
  }));
};

// ---------------------------------------------------------------- tables
const cell = (text, css, tag = "td") => {
  const td = document.createElement(tag);
  if (css) td.className = css;
  td.append(text);
  return td;
};
const row = (...cells) => { const tr = document.createElement("tr"); tr.append(...cells); return tr; };
const press = (words, action) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "press";
  button.textContent = words;
  button.addEventListener("click", () => action(button));
  return button;
};
const copy = async (text, button) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
};
const score = (t, name, r) => {
  const v = t[name][(r + 1) * t.epochs.length - 1];
  // a cut tail ends at the worse end of the scale
  return t.cut[name] && v === t.worse[name] ? `${facts().direction === "min" ? "≥" : "≤"} ${short(v)}` : short(v);
};

const drawRows = () => {
  const t = state.task, made = [];
  for (let s = 0; s < t.seeds; s++) {
    const r = state.picked * t.seeds + s;
    if (t.status[r] === " ") continue;
    const command = `metabench rerun ${state.index.table} --run-id ${t.ids[r]}`;
    const again = document.createElement("span"), code = document.createElement("code");
    again.className = "again";
    code.textContent = command;
    const button = press("Copy", (b) => copy(command, b));
    button.setAttribute("aria-label", `Copy the command for seed ${s}`);
    again.append(button, code);
    made.push(row(cell(String(s), "num"), cell(STATUS[t.status[r]]), cell(score(t, "valid", r), "num"), cell(score(t, "test", r), "num"), cell(short(t.seconds[r]), "num"), cell(again)));
  }
  $("rows").replaceChildren(...made);
  const { columns } = state.space;
  const listed = Object.keys(columns).map((name) => row(cell(name.replaceAll("_", " "), "", "th"), cell(columns[name][state.picked] === null ? "inactive" : short(columns[name][state.picked]), "num")));
  listed.push(row(cell("parameters of the network", "", "th"), cell(state.task.params[state.picked].toLocaleString("en"), "num")));
  $("values").replaceChildren(...listed);
};

const drawBest = () => {
  const { columns } = state.space, names = Object.keys(columns), shown = [...new Set([$("x").value, $("y").value, ...names])].slice(0, 6);
  $("best-caption").textContent = `The ten best by ${$("measure").selectedOptions[0].text}, mean over seeds`;
  const head = row(cell("", "", "th"), cell("Mean", "num", "th"), ...shown.map((n) => cell(n.replaceAll("_", " "), "num", "th")));
  for (const th of head.cells) th.scope = "col";
  $("best-head").replaceChildren(head);
  $("best-rows").replaceChildren(...state.ranked.order.slice(0, 10).map((c) => {
    const button = press(`Configuration ${c}`, () => { pick(c); $("map").focus(); });
    const made = row(cell(button), cell(short(state.values[c]), "num"), ...shown.map((n) => cell(columns[n][c] === null ? "inactive" : short(columns[n][c]), "num")));
    made.dataset.config = c;
    return made;
  }));
};

// ---------------------------------------------------------------- picking
const pick = (c) => {
  state.picked = c;
  const s = state.at.spots[c], ring = $("chosen");
  ring.setAttribute("cx", s.x);
  ring.setAttribute("cy", s.y);
  $("config").textContent = c;
  const { columns } = state.space, place = state.ranked.order.indexOf(c) + 1;
  const told = (name) => `${name.replaceAll("_", " ")} ${columns[name][c] === null ? "inactive" : short(columns[name][c])}`;
  $("picked").textContent = `Place ${place} of ${state.ranked.order.length}: ${$("measure").selectedOptions[0].text} ${short(state.values[c])}; ${told($("x").value)}, ${told($("y").value)}.`;
  for (const tr of $("best-rows").rows) tr.classList.toggle("here", Number(tr.dataset.config) === c);
  drawCurves();
  drawRows();
  remember();
};
const remember = () => {
  const held = new URLSearchParams({ task: $("task").value, x: $("x").value, y: $("y").value, shows: $("measure").value, config: state.picked });
  history.replaceState(null, "", `#${held}`);
};
$("map").addEventListener("click", (event) => {
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform($("map").getScreenCTM().inverse());
  let found = null, near = 30;
  state.at.spots.forEach((s, c) => { const d = Math.hypot(s.x - at.x, s.y - at.y); if (d < near) [found, near] = [c, d]; });
  if (found !== null) pick(found);
});
const WAYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
$("map").addEventListener("keydown", (event) => {
  const order = state.ranked.order, here = order.indexOf(state.picked);
  let next = null;
  if (event.key === "Home") next = order[0];
  else if (event.key === "End") next = order.at(-1);
  else if (event.key === "PageUp") next = order[Math.max(0, here - 1)];
  else if (event.key === "PageDown") next = order[Math.min(order.length - 1, here + 1)];
  else if (WAYS[event.key]) {
    const [wx, wy] = WAYS[event.key], from = state.at.spots[state.picked];
    let near = Infinity;
    state.at.spots.forEach((s, c) => {
      const dx = s.x - from.x, dy = s.y - from.y, along = dx * wx + dy * wy, aside = Math.abs(dx * wy) + Math.abs(dy * wx);
      if (c !== state.picked && along > 0.5 && along + 2 * aside < near) [next, near] = [c, along + 2 * aside];
    });
  } else return;
  event.preventDefault();
  if (next !== null) pick(next);
});

// ---------------------------------------------------------------- choosing
const fill = (select, options, kept) => {
  select.replaceChildren(...options.map(([value, words]) => new Option(words, value)));
  if (options.some(([value]) => value === kept)) select.value = kept;
};
const fail = (error) => { $("facts").textContent = `${error.message}; open the page from the folder that it was written to.`; };
const show = async (keep) => {
  const t = facts();
  $("facts").textContent = "Reading the data …";
  await Promise.all([load(state.index.workloads[t.workload]), load(t.file)]);
  if (facts().id !== t.id) return; // another was chosen meanwhile
  if (state.space !== state.spaces[t.workload]) {
    state.space = state.spaces[t.workload];
    const names = Object.keys(state.space.space).map((n) => [n, n.replaceAll("_", " ")]);
    const [x, y] = [keep?.get("x") ?? $("x").value, keep?.get("y") ?? $("y").value];
    fill($("x"), names, names.some(([n]) => n === x) ? x : "learning_rate");
    fill($("y"), names, names.some(([n]) => n === y) && y !== $("x").value ? y : names.find(([n]) => n !== $("x").value)[0]);
  }
  state.task = state.tasks[t.id];
  $("epoch").max = state.task.epochs.length - 1;
  $("epoch").value = state.task.epochs.length - 1;
  if (keep?.has("config")) state.picked = Number(keep.get("config"));
  const about = [`family ${t.family}`, t.modality, t.kind, t.metric?.replaceAll("_", " "), t.n_train && `${t.n_train.toLocaleString("en")} training rows`,
    t.n_features && `${t.n_features.toLocaleString("en")} inputs`, t.n_classes && `${t.n_classes} classes`, t.chance !== undefined && t.chance !== null && `constant guess ${short(t.chance)}`, t.licence];
  $("facts").textContent = `${t.id}: ${about.filter(Boolean).join(", ")}.`;
  $("scene").hidden = $("best").hidden = $("controls").hidden = false;
  redraw();
};
const redraw = () => {
  const still = $("measure").value === "seconds";
  $("epoch").disabled = still;
  $("epoch-text").textContent = still ? "whole runs" : `epoch ${state.task.epochs[Number($("epoch").value)]}`;
  drawMap();
};
const listTasks = (kept) => fill($("task"), state.index.tasks.filter((t) => t.workload === $("workload").value).map((t) => [t.id, t.id]), kept);

const begin = () => {
  const keep = new URLSearchParams(location.hash.slice(1)), known = state.index.tasks.find((t) => t.id === keep.get("task"));
  fill($("workload"), Object.keys(state.index.workloads).map((w) => [w, w]), known?.workload);
  listTasks(known?.id);
  if ([...$("measure").options].some((o) => o.value === keep.get("shows"))) $("measure").value = keep.get("shows");
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("workload").addEventListener("change", () => { listTasks(); state.picked = null; show().catch(fail); });
  $("task").addEventListener("change", () => show().catch(fail));
  for (const id of ["x", "y", "measure"]) $(id).addEventListener("change", redraw);
  $("epoch").addEventListener("input", redraw);
  show(keep).catch(fail);
};
