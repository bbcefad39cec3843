"use strict";
// What all parts of the page share: plotly, colours, the tip, tables that sort, and paper.

const root = document.documentElement;
const darkness = matchMedia("(prefers-color-scheme: dark)");
const redraws = []; // of all charts, for other colours or another width
const isDark = () => (root.dataset.theme ?? (darkness.matches ? "dark" : "light")) === "dark";
const variable = (name) => getComputedStyle(root).getPropertyValue(name).trim();

// plotly.js lies compressed in the page and is unpacked once, when the first chart comes into view.
let library;
const plotly = () => (library ??= unpack());
async function unpack() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  return globalThis.Plotly;
}
// What is in view is drawn first, the rest one after another when the page has nothing else to do.
const waiting = [];
const idle = globalThis.requestIdleCallback ?? ((work) => setTimeout(work, 50));
const drawNext = () => { const next = waiting.shift(); if (next) { next(); idle(drawNext); } };
addEventListener("load", () => idle(drawNext));
const inView = (element, draw) => {
  let done = false;
  const once = () => (done ? undefined : ((done = true), watcher.disconnect(), draw()));
  const watcher = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) once(); }, { rootMargin: "400px" });
  watcher.observe(element);
  addEventListener("beforeprint", once);
  waiting.push(once);
};

// Curves keep their colours; on a dark page they are lighter, and black is the colour of text.
const ink = (colour) => {
  if (colour.toLowerCase() === "#000000") return variable("--text");
  if (!isDark()) return colour;
  const parts = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return `#${parts.map((part) => Math.round(part + (255 - part) * 0.28).toString(16).padStart(2, "0")).join("")}`;
};
const faded = (colour, alpha) => `${colour}${Math.round(255 * alpha).toString(16).padStart(2, "0")}`;
const safe = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const short = (value) => {
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return String(value);
  if (size >= 1e6 && size < 1e15) {
    const power = Math.min(4, Math.floor(Math.log10(size) / 3));
    return `${Number((value / 10 ** (3 * power)).toPrecision(4))} ${["", "k", "M", "G", "T"][power]}`;
  }
  return size >= 1e-3 && size < 1e6 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
};
const axisStyle = () => ({
  gridcolor: variable("--grid"), linecolor: variable("--line"), tickcolor: variable("--line"), ticks: "outside",
  ticklen: 4, zeroline: false, showline: true, automargin: true, title: { standoff: 10 },
});
const PAPER = 680; // pixels across a page
let printing = false;
const logTicks = (decades) => (decades < 1.6 ? { dtick: "D2", tickformat: "~g" } : { nticks: 9, exponentformat: "power", minorloglabels: "none" });
const chartStyle = (part = 1) => ({
  ...(printing ? { width: part * PAPER, height: 320 } : {}),
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
  font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: variable("--soft") },
  margin: { l: 62, r: 14, t: 28, b: 46 },
  hoverlabel: { bgcolor: variable("--card"), bordercolor: variable("--line"), font: { family: getComputedStyle(document.body).fontFamily, color: variable("--text"), size: 12.5 }, align: "left" },
});
// A finger on a chart scrolls the page; the buttons above the chart zoom.
const touch = matchMedia("(pointer: coarse)").matches;
const chartOptions = {
  responsive: true, displaylogo: false, scrollZoom: false,
  // all there are: plotly's own choice has one that sends the chart to its makers
  modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]], plotlyServerURL: "",
  toImageButtonOptions: { format: "svg", filename: "curves" },
};

// Light or dark: the reader's system decides until the button does.
const themeButton = document.getElementById("theme");
const applyTheme = () => {
  themeButton.setAttribute("aria-pressed", String(isDark()));
  redraws.forEach((redraw) => redraw());
};
try { root.dataset.theme = localStorage.getItem("gossipsim-theme") || ""; } catch { /* storage is off */ }
if (!root.dataset.theme) delete root.dataset.theme;
themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try { localStorage.setItem("gossipsim-theme", root.dataset.theme); } catch { /* storage is off */ }
  applyTheme();
});
darkness.addEventListener("change", applyTheme);
applyTheme();

// A click on a column's head sorts by it; numbers by value, what has none last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.tabIndex = 0;
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.cells[column];
        if (!head.classList.contains("number")) return cell.textContent;
        return parseFloat(cell.dataset.value ?? cell.textContent);
      };
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (typeof x === "string") return (down ? -1 : 1) * x.localeCompare(y, undefined, { numeric: true });
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
        return (down ? -1 : 1) * (x - y);
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      sort();
    });
  });
}

// Paper is white, and has nothing that unfolds.
let onScreen;
const unfold = () => {
  onScreen = { theme: root.dataset.theme, folded: [...document.querySelectorAll("details:not([open], .long)")] };
  root.dataset.theme = "light";
  printing = true;
  redraws.forEach((redraw) => redraw());
  onScreen.folded.forEach((details) => { details.open = true; });
};
const foldAgain = () => {
  printing = false;
  if (onScreen.theme) root.dataset.theme = onScreen.theme;
  else delete root.dataset.theme;
  onScreen.folded.forEach((details) => { details.open = false; });
  applyTheme();
};
addEventListener("beforeprint", unfold);
addEventListener("afterprint", foldAgain);
