"use strict";
// The controls of a board's page: budget, first trials, types, kinds and sizes of tasks, methods to draw and to compare.
// Everything below them follows. The address keeps what was chosen; without this script the page shows the headline.

const held = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const picks = all("select.pick");
const written3 = (value) => (value === null ? "–" : value.toFixed(3).replace("-", "−").replace("−0.000", "0.000"));
const kindOf = new Map(held.methods.map(([name, kind]) => [name, kind]));
const everything = held.tasks.map((_, i) => i);

// ---- statistics: seeds are averaged already; tasks → families → (interquartile) mean, bootstrap over families
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const trimmed = (values, share) => {
  const cut = Math.floor(share * values.length);
  return mean([...values].sort((a, b) => a - b).slice(cut, values.length - cut));
};
const familyMeans = (values, tasks) => {
  const found = new Map();
  tasks.forEach((t, i) => found.set(held.tasks[t][1], [...(found.get(held.tasks[t][1]) ?? []), values[i]]));
  return [...found.values()].map(mean);
};
const random = (seed) => () => {
  // mulberry32: the same draws at every visit
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};
const drawsOf = new Map();
const draws = (n) => {
  if (!drawsOf.has(n)) {
    const next = random(n);
    drawsOf.set(n, Array.from({ length: 1000 }, () => Array.from({ length: n }, () => Math.floor(next() * n))));
  }
  return drawsOf.get(n);
};
const interval = (families, share) => {
  if (families.length < 2) return [null, null];
  const found = draws(families.length).map((draw) => trimmed(draw.map((i) => families[i]), share)).sort((a, b) => a - b);
  const tail = held.tail[families.length] ?? 0.025;
  const at = (q) => found[Math.min(found.length - 1, Math.max(0, Math.round(q * (found.length - 1))))];
  return [at(tail), at(1 - tail)];
};

// ---- what is chosen
const state = {};
const defaults = {
  start: held.start, mark: held.mark, type: "all", kind: "", size: "", scale: "log",
  draw: picks.map((pick) => pick.value).join(","), a: byId("a").value, b: byId("b").value,
};
const names = new Set(held.methods.map(([name]) => name));
const valid = {
  start: (x) => x in held.starts, mark: (x) => held.marks.includes(Number(x)), type: (x) => byId(`kind-${x}`) !== null,
  kind: (x) => held.tasks.some((t) => t[2] === x), size: (x) => ["small", "large"].includes(x), scale: (x) => x === "linear",
  draw: (x) => x.split(",").length === picks.length && x.split(",").every((name) => names.has(name)),
  a: (x) => names.has(x), b: (x) => names.has(x),
};
const restore = () => {
  const asked = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  for (const [key, value] of Object.entries(defaults)) {
    const wanted = asked.get(key);
    state[key] = wanted !== null && valid[key](wanted) ? (key === "mark" ? Number(wanted) : wanted) : value;
  }
};
const radio = (name, value) => {
  const input = all(`input[name=${name}]`).find((one) => one.value === String(value));
  if (input) input.checked = true;
};
const chosen = () => state.draw.split(",").filter(Boolean);
const show = () => {
  radio("start", state.start);
  radio("mark", state.mark);
  radio("kind", state.type);
  radio("scale", state.scale);
  if (byId("task-kind")) byId("task-kind").value = state.kind;
  if (byId("task-size")) byId("task-size").value = state.size;
  chosen().forEach((name, i) => (picks[i].value = name));
  byId("a").value = state.a;
  byId("b").value = state.b;
};
const keep = () => {
  const changed = Object.entries(state).filter(([key, value]) => value !== defaults[key]);
  const address = changed.length ? `#${new URLSearchParams(changed)}` : location.pathname + location.search;
  history.replaceState(null, "", address);
};

// ---- the numbers of the present choice
const numbers = () => {
  const source = held.starts[state.start];
  const at = held.marks.indexOf(state.mark);
  const large = { small: false, large: true }[state.size];
  const tasks = everything.filter(
    (t) => (!state.kind || held.tasks[t][2] === state.kind) && (large === undefined || held.tasks[t][3] === large),
  );
  const whole = tasks.length === everything.length;
  const present = Object.keys(source.mean).filter((m) => state.type === "all" || kindOf.get(m) === state.type);
  const rows = new Map();
  for (const method of Object.keys(source.mean)) {
    const values = tasks.map((t) => source.regret[method][t][at]);
    if (values.some((value) => value === null) || !tasks.length) continue;
    let estimate = source.mean[method][at], group = source.group[method][at];
    if (!whole) {
      const families = familyMeans(values, tasks);
      estimate = [trimmed(families, held.cut), ...interval(families, held.cut)];
      group = 2;
      if (source.regret.random && !source.tiers && method !== "random") {
        const gaps = familyMeans(values.map((value, i) => value - source.regret.random[tasks[i]][at]), tasks);
        const [low, high] = interval(gaps, 0);
        group = high !== null && high < 0 ? 1 : low !== null && low > 0 ? 3 : 2;
      } else if (source.tiers) group = source.group[method][at];
    }
    rows.set(method, { estimate, group, values });
  }
  return { source, at, tasks, whole, rows, present };
};

// ---- the verdict, in the words of finding.txt.j2
const range = (values) => {
  const [low, high] = [written3(Math.min(...values)), written3(Math.max(...values))];
  return low === high ? low : `${low}–${high}`;
};
const amount = () => {
  const unit = state.mark === 1 ? held.units.replace(/s$/, "") : held.units;
  return held.epochs ? `the epochs of ${state.mark} ${unit}` : `${state.mark} ${unit}`;
};
const verdict = ({ source, at, tasks, whole, rows, present }) => {
  if (!tasks.length) return "No task is of this kind and size.";
  const begin = whole ? `After ${amount()} on data sets that no method saw, ` : `After ${amount()} on ${tasks.length} of ${everything.length} tasks, `;
  const value = (m) => rows.get(m).estimate[0];
  const others = present.filter((m) => m !== "random" && rows.has(m));
  const led = others.filter((m) => rows.get(m).group === 1);
  const parts = [];
  if (!rows.has("random") || !others.length) parts.push(`${begin}regret is ${range(present.filter((m) => rows.has(m)).map(value))}.`);
  else if (source.tiers) parts.push(`${begin}the leading tier has a regret of ${range(led.map(value))}, random search ${written3(value("random"))}.`);
  else if (led.length) {
    parts.push(`${begin}${led.length} of ${others.length} methods ${led.length === 1 ? "is" : "are"} shown to be better than random search.`);
    parts.push(`Their regret is ${range(led.map(value))}, that of random search ${written3(value("random"))}.`);
  } else {
    parts.push(`${begin}no method is shown to be better than random search.`);
    parts.push(`The regret of random search is ${written3(value("random"))}, that of the others ${range(others.map(value))}.`);
  }
  const [decided, pairs, winner] = source.decided[at];
  if (whole && state.type === "all" && pairs) {
    if (winner) parts.push(`${winner} is shown to be better than every other method.`);
    else parts.push(`The data do not show which method is best: ${decided} of ${pairs.toLocaleString("en")} pairs of methods differ significantly.`);
  }
  return parts.join(" ");
};

// ---- the table of methods
const labels = { 1: "better than random", 2: "no difference shown", 3: "worse than random" };
const table = document.querySelector("table.ranking");
const retable = ({ source, rows }) => {
  const most = Math.max(...[...rows.values()].map(({ estimate }) => estimate[2] ?? estimate[0])) || 1;
  const x = (value) => 4 + (112 * Math.min(Math.max(value, 0), most)) / most;
  const colours = new Map([["random", "reference"], ...chosen().map((name, i) => [name, `c${i + 1}`])]);
  for (const row of table.tBodies[0].rows) {
    const method = row.dataset.method, found = row.dataset.start === state.start ? rows.get(method) : undefined;
    row.toggleAttribute("data-absent", row.dataset.start === state.start && !found);
    for (const part of row.querySelectorAll(".swatch, .strip")) {
      part.classList.remove("c1", "c2", "c3", "c4", "c5", "other", "reference");
      part.classList.add(colours.get(method) ?? "other");
    }
    if (!found) continue;
    const [value, low, high] = found.estimate, main = row.querySelector(".main"), group = row.querySelector(".group");
    main.dataset.value = value;
    main.querySelector("b").textContent = written3(value);
    main.querySelector(".under").textContent = low === null ? "" : `[${written3(low)}, ${written3(high)}]`;
    main.querySelector(".whisker").setAttribute("x1", x(low ?? value));
    main.querySelector(".whisker").setAttribute("x2", x(high ?? value));
    main.querySelector(".dot").setAttribute("cx", x(value));
    group.className = `group g${found.group}`;
    group.dataset.value = found.group;
    group.textContent = source.tiers ? `tier ${found.group}` : method === "random" ? "–" : labels[found.group];
  }
  for (const part of all(".at")) part.textContent = state.mark;
  for (const cell of all("[data-mark], [data-at]", table)) {
    cell.classList.toggle("chosen", Number(cell.dataset.mark ?? cell.dataset.at) === state.mark);
  }
  const column = table.tHead.rows[0].cells[2];
  column.removeAttribute("aria-sort");
  sortBy(table, column);
};
/* regret at other marks is that of all tasks: with some left out these columns say nothing */
const columns = ({ whole }) => all(".heat.wide", table).forEach((cell) => (cell.hidden = !whole));

// ---- the chart
const SVG = "http://www.w3.org/2000/svg";
const narrow = matchMedia("(max-width: 640px)");
narrow.addEventListener("change", () => apply());
const make = (tag, attributes, ...inside) => {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...inside);
  return node;
};
const canvas = (id, width, height, title, description, css) => {
  const titles = [make("title", { id: `${id}-title` }, title), make("desc", { id: `${id}-desc` }, description)];
  return make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": `${id}-title ${id}-desc`, class: css }, ...titles);
};
const line = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;
const curves = ({ source, tasks, whole, rows }) => {
  const x = whole ? source.curve.x : held.marks;
  const series = (method) => {
    if (whole) return source.curve.y[method];
    const found = held.marks.map((_, k) => familyMeans(tasks.map((t) => source.regret[method][t][k]), tasks));
    const ends = found.map((families) => interval(families, held.cut));
    return [found.map((families) => trimmed(families, held.cut)), ends.map(([low]) => low), ends.map(([, high]) => high)];
  };
  const drawn = [...new Set([...chosen(), "random"])].filter((m) => rows.has(m));
  const css = new Map([...chosen().map((m, i) => [m, `c${i + 1}`]), ["random", "reference"]]);
  const lines = drawn.map((m) => ({ method: m, css: css.get(m), at: series(m) }));
  const leading = [...rows].filter(([, row]) => row.group === 1).map(([m]) => series(m)[0]);
  const band = leading.length > 1 ? [x.map((_, i) => Math.min(...leading.map((s) => s[i]))), x.map((_, i) => Math.max(...leading.map((s) => s[i])))] : null;
  const shown = [...lines.flatMap((l) => l.at[0]), ...(band ? band.flat() : [])].filter(Number.isFinite);
  const log = state.scale === "log", high = Math.max(...shown, 0.001) * 1.05;
  const low = log ? Math.max(0.001, Math.min(...shown.filter((v) => v > 0), high / 2)) : Math.min(0, ...shown);
  const [left, right, top, bottom] = [52, narrow.matches ? 310 : 432, 10, 298];
  const across = (v) => left + ((Math.log(v) - Math.log(x[0])) / (Math.log(x.at(-1)) - Math.log(x[0]) || 1)) * (right - left);
  const up = (v) => {
    const t = log ? (Math.log(Math.max(v, low)) - Math.log(low)) / (Math.log(high) - Math.log(low)) : (v - low) / (high - low);
    return bottom - Math.min(Math.max(t, 0), 1) * (bottom - top);
  };
  const ends = lines.map((l) => `${l.method} ${written3(l.at[0].at(-1))}`).join("; ");
  const svg = canvas("live-chart", narrow.matches ? 470 : 560, 340, `Valid regret over ${held.units}`, `At the end: ${ends}.`, "chart regret");
  const ticks = log ? [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1].filter((t) => t >= low * 0.999 && t <= high) : [0, 0.2, 0.4, 0.6, 0.8, 1].filter((t) => t <= high);
  for (const tick of ticks) {
    svg.append(make("line", { x1: left, x2: right, y1: up(tick), y2: up(tick), class: "grid" }));
    svg.append(make("text", { x: left - 6, y: up(tick) + 4.5, class: "tick end" }, String(tick)));
  }
  for (const tick of held.marks.filter((m) => m >= x[0] && m <= x.at(-1))) {
    svg.append(make("text", { x: across(tick), y: bottom + 19, class: "tick middle" }, String(tick)));
  }
  svg.append(make("line", { x1: left, x2: right, y1: bottom, y2: bottom, class: "axis" }));
  svg.append(make("text", { x: (left + right) / 2, y: bottom + 36, class: "axis-title middle" }, `${held.units} (log scale)`));
  const points = (values) => values.map((v, i) => [across(x[i]), up(v)]);
  if (band) {
    const area = line([...points(band[1]), ...points(band[0]).reverse()]);
    svg.append(make("g", { class: "series tier" }, make("path", { d: `${area}Z`, class: "band" })));
  }
  const labelled = lines.map((l) => [up(l.at[0].at(-1)), l]).sort((a, b) => a[0] - b[0]);
  let last = -Infinity;
  for (const [y, l] of labelled) {
    const group = make("g", { class: `series ${l.css}`, "data-method": l.method });
    if (l.at[1].every((v) => v !== null)) {
      group.append(make("path", { d: `${line([...points(l.at[2]), ...points(l.at[1]).reverse()])}Z`, class: "band" }));
    }
    group.append(make("path", { d: line(points(l.at[0])), class: "line" }));
    last = Math.min(Math.max(y, last + 16), bottom);
    group.append(make("text", { x: right + 8, y: last + 4.5, class: "end-label inside" }, l.method));
    svg.append(group);
  }
  byId("live").querySelector(".drawing").replaceChildren(svg);
  follow(svg);
};

// ---- one method against another
const compare = ({ source, tasks, at, rows }) => {
  const [a, b] = [rows.get(state.a), rows.get(state.b)], out = byId("duel");
  byId("dots").replaceChildren();
  if (!a || !b || state.a === state.b) {
    out.textContent = state.a === state.b ? "Choose two different methods." : "One of them has no searches of this kind.";
    return;
  }
  const gaps = a.values.map((value, i) => value - b.values[i]);
  const families = familyMeans(gaps, tasks);
  const [low, high] = interval(families, 0);
  const won = gaps.filter((g) => g < 0).length, lost = gaps.filter((g) => g > 0).length;
  const ends = low === null ? "" : ` (95 % interval ${written3(low)} to ${written3(high)})`;
  const clear = low === null || (low <= 0 && high >= 0) ? "The interval holds 0: no difference is shown." : `${high < 0 ? state.a : state.b} is better.`;
  out.textContent =
    `After ${amount()}, ${state.a} has the lower regret on ${won} of ${tasks.length} tasks, ${state.b} on ${lost}, and ${tasks.length - won - lost} are ties. ` +
    `The mean difference ${state.a} − ${state.b} is ${written3(mean(families))}${ends}. ${clear}`;
  const most = Math.max(...gaps.map(Math.abs)) || 1, width = narrow.matches ? 440 : 560, x = (g) => 20 + ((g / most + 1) / 2) * (width - 40);
  const svg = canvas("dots-chart", width, 74, `Difference of regret on each task, ${state.a} − ${state.b}`, out.textContent, "chart");
  svg.append(make("line", { x1: x(0), x2: x(0), y1: 8, y2: 48, class: "zero" }));
  tasks.map((t, i) => [gaps[i], t]).sort((p, q) => p[0] - q[0]).forEach(([gap, t], i) => {
    const dot = make("circle", { cx: x(gap), cy: 14 + 7 * (i % 5), r: 4, class: gap < 0 ? "ahead" : "behind" });
    dot.append(make("title", {}, `${held.tasks[t][0]}: ${written3(gap)}`));
    svg.append(dot);
  });
  svg.append(make("text", { x: 20, y: 68, class: "tick" }, `${state.a} is better`));
  svg.append(make("text", { x: width - 20, y: 68, class: "tick end" }, `${state.b} is better`));
  byId("dots").append(svg);
};

// ---- methods by tasks
const heat = document.querySelector("table.heatmap");
const reheat = ({ tasks, rows, present }) => {
  const cell = (tag, text, attributes = {}) => {
    const node = document.createElement(tag);
    node.textContent = text;
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const head = document.createElement("tr");
  head.append(cell("th", "Method", { scope: "col", class: "sticky" }));
  for (const t of tasks) {
    const th = cell("th", "", { scope: "col" });
    th.append(cell("span", held.tasks[t][0]));
    head.append(th);
  }
  heat.tHead.replaceChildren(head);
  const ordered = present.filter((m) => rows.has(m)).sort((a, b) => rows.get(a).estimate[0] - rows.get(b).estimate[0]);
  heat.tBodies[0].replaceChildren(
    ...ordered.map((method) => {
      const row = document.createElement("tr");
      row.append(cell("th", method, { scope: "row", class: "sticky" }));
      for (const value of rows.get(method).values) {
        const shade = Math.min(Math.max(1 - value, 0), 1).toFixed(1);
        row.append(cell("td", value.toFixed(2).replace("-", "−"), { style: `--h:${shade}` }));
      }
      return row;
    }),
  );
  const kept = new Set(tasks.map((t) => held.tasks[t][0]));
  for (const row of all("#tasks tr[data-task]")) row.toggleAttribute("data-absent", !kept.has(row.dataset.task));
};

const apply = () => {
  const found = numbers();
  byId("verdict").textContent = verdict(found);
  byId("filtered").hidden = found.whole;
  columns(found);
  if (found.rows.size) {
    retable(found);
    curves(found);
    compare(found);
    reheat(found);
  }
};
const change = (key, value) => {
  state[key] = value;
  keep();
  apply();
};
for (const [name, key] of [["start", "start"], ["mark", "mark"], ["kind", "type"], ["scale", "scale"]]) {
  for (const input of all(`input[name=${name}]`)) {
    input.addEventListener("change", () => change(key, key === "mark" ? Number(input.value) : input.value));
  }
}
for (const [id, key] of [["task-kind", "kind"], ["task-size", "size"], ["a", "a"], ["b", "b"]]) {
  byId(id)?.addEventListener("change", (event) => change(key, event.target.value));
}
for (const pick of picks) pick.addEventListener("change", () => change("draw", picks.map((one) => one.value).join(",")));
const refilter = () => byId("filter").dispatchEvent(new Event("input"));
byId("reset").addEventListener("click", () => {
  Object.assign(state, defaults);
  show();
  keep();
  apply();
  refilter();
});
// the way to a part of the page does not take the choice out of the address
for (const link of all("a[href*='#']")) {
  const url = new URL(link.href, location.href);
  if (url.pathname !== location.pathname || !byId(url.hash.slice(1))) continue;
  link.addEventListener("click", (event) => {
    event.preventDefault();
    byId(url.hash.slice(1)).scrollIntoView();
  });
}
restore();
show();
for (const still of all(".still")) still.hidden = true;
apply();
if (state.type !== "all") refilter();
