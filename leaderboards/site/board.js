"use strict";
// Sorting, filtering, and pointing at methods. Everything on the pages can be read without this script.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

for (const part of all(".script-only")) part.hidden = false;
document.documentElement.classList.add("scripted");

// ---- sorting: header cells become buttons; empty values stay last whichever way the column is sorted
const sortKey = (row, column, numeric) => {
  const cell = row.cells[column];
  const text = (cell.dataset.value ?? cell.textContent).trim();
  if (!numeric) return text.toLowerCase();
  const value = text === "" ? NaN : Number(text.replace("−", "-").replace(/,/g, ""));
  return Number.isNaN(value) ? null : value;
};

const sortBy = (table, header) => {
  const column = header.cellIndex;
  const numeric = header.dataset.type === "number";
  const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const keyed = [...table.tBodies[0].rows].map((row) => [sortKey(row, column, numeric), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (numeric ? a - b : a.localeCompare(b, "en"));
  });
  table.tBodies[0].append(...keyed.map(([, row]) => row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
};

for (const table of all("table.sortable")) {
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(table, header));
  }
}

// ---- filtering: every word must occur in what the row says of itself, and its type must be the chosen one
const checked = (name) => document.querySelector(`input[name=${name}]:checked`)?.value;
const filter = document.getElementById("filter");
if (filter) {
  const count = document.getElementById("count");
  const rows = all("table.filterable tbody tr");
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = checked("kind") ?? "all";
    const shown = new Set();
    for (const row of rows) {
      row.hidden = !words.every((word) => row.dataset.search.toLowerCase().includes(word));
      if (!row.hidden && (kind === "all" || row.dataset.kind === kind)) shown.add(row.dataset.method);
    }
    const total = new Set(rows.map((row) => row.dataset.method)).size;
    const unfiltered = words.length === 0 && kind === "all";
    count.textContent = unfiltered ? "" : `${shown.size} of ${total} ${count.dataset.noun ?? "methods"}`;
  };
  filter.addEventListener("input", apply);
  for (const input of all("input[name=kind]")) input.addEventListener("change", apply);
  apply();
}

// ---- pointing: hovering or focusing a method anywhere lights it in every chart and table
let pointed = null;
const point = (method) => {
  if (method === pointed) return;
  pointed = method;
  for (const chart of all(".chart")) {
    chart.classList.toggle("pointing", method !== null && marksOf(method, chart).length > 0);
  }
  for (const mark of all(".series[data-method], tr[data-method]")) {
    mark.classList.toggle("lit", mark.dataset.method === method);
  }
};
const marksOf = (method, root) => all("[data-method]", root).filter((mark) => mark.dataset.method === method);
const methodAt = (event) => event.target.closest?.("[data-method]")?.dataset.method ?? null;
document.addEventListener("pointerover", (event) => point(methodAt(event)));
document.addEventListener("focusin", (event) => point(methodAt(event)));
document.addEventListener("focusout", () => point(null));

// ---- the legend hides and shows
for (const chip of all(".chip")) {
  chip.disabled = false;
  chip.addEventListener("click", () => {
    const show = chip.getAttribute("aria-pressed") === "false";
    chip.setAttribute("aria-pressed", String(show));
    for (const chart of all(".regret")) {
      for (const mark of marksOf(chip.dataset.method, chart)) mark.classList.toggle("off", !show);
    }
  });
}

// ---- the nearest curve under the pointer, in words; regrets come from the table below the charts
const readout = document.getElementById("readout");
const nearest = (chart, event) => {
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
  let found = { distance: 24 };
  for (const line of all(".series:not(.off) .line", chart)) {
    for (const [x, y] of line.pointsCache ?? (line.pointsCache = readPoints(line))) {
      const distance = Math.hypot(x - at.x, y - at.y);
      if (distance < found.distance) found = { distance, method: line.parentNode.dataset.method };
    }
  }
  return found.method ?? null;
};
const readPoints = (line) => line.getAttribute("d").slice(1).split("L").map((pair) => pair.split(" ").map(Number));

const follow = (chart) => {
  chart.addEventListener("pointermove", (event) => {
    const method = nearest(chart, event);
    point(method);
    if (readout && method !== null) readout.textContent = describe(method);
  });
  chart.addEventListener("pointerleave", () => point(null));
};
all(".chart.regret").forEach(follow);

const describe = (method) => {
  const start = checked("start");
  const row = all("#ranking tr[data-method]").find(
    (candidate) => candidate.dataset.method === method && (!start || candidate.dataset.start === start),
  );
  if (!row) return method;
  return `${method}: ${row.querySelector(".main").textContent.replace(/\s+/g, " ").trim()}`;
};
