// The explorer of a task and model: which curves, of what, against what. Numbers come by position, names from the HTML.

const DECADES_SHOWN = 1e-8; // of the first record to the second: what begins equal differs by rounding at first

function explorer(element) {
  const find = (selector) => element.querySelector(selector);
  const all = (selector) => [...element.querySelectorAll(selector)];
  const { arrays, metrics, curves } = JSON.parse(find(".numbers").textContent);
  const [metric, axis, band, chart] = [".metric", ".axis", ".band", ".chart"].map(find);
  const items = all(".item").map((button) => ({
    button, curve: Number(button.dataset.curve), title: button.title,
    tags: button.dataset.tags === "" ? [] : button.dataset.tags.split(",").map(Number),
    on: button.dataset.first === "1",
  }));
  const scales = all(".scale");
  let scale = null; // null: what suits the metric
  let drawn = false;

  const chosen = () => metrics[metric.value];
  const passes = (item) => all(".filter:not(:checked)").every((box) => item.tags[box.dataset.dimension] !== Number(box.value));
  const lineOf = (item) => chosen().lines[axis.value]?.[item.curve];
  const visible = () => items.filter((item) => item.on && passes(item) && lineOf(item));

  const suits = (lines) => {
    if (!chosen().log) return "linear";
    const values = lines.flatMap(([, mean]) => arrays[mean]).filter((value) => value !== null);
    if (!chosen().positive && values.some((value) => value <= 0)) return "linear";
    const positive = values.filter((value) => value > 0);
    return positive.length && Math.max(...positive) / Math.min(...positive) >= 5 ? "log" : "linear";
  };

  // From the smallest to the largest mean, and as much of the bands as a scale can show.
  const range = (lines, log, bands) => {
    let [low, high] = [Infinity, -Infinity];
    for (const [, mean, std] of lines) {
      arrays[mean].forEach((value, k) => {
        if (value === null || (log && value <= 0)) return;
        const later = arrays[mean][1];
        if (log && k === 0 && later > 0 && value < DECADES_SHOWN * later) return;
        const spread = bands && std !== null ? arrays[std][k] ?? 0 : 0;
        low = Math.min(low, log ? (value - spread > value / 3 ? value - spread : value) : value - spread);
        high = Math.max(high, value + spread);
      });
    }
    if (low > high) return undefined;
    if (log) return [Math.log10(low / 1.25), Math.log10(high * 1.25)];
    const margin = 0.05 * (high - low) || 0.05 * Math.abs(high) || 1;
    return [low - margin, high + margin];
  };

  const traces = (shown, log, bands, limits) => {
    const lines = [], areas = [];
    const names = { x: axis.selectedOptions[0].text, y: metric.selectedOptions[0].text };
    for (const item of shown) {
      const [xs, means, stds] = lineOf(item).map((at) => (at === null ? null : arrays[at]));
      const look = curves[item.curve], colour = ink(look.colour);
      if (bands && stds) {
        const floor = log && limits ? 10 ** (limits[0] - 2) : -Infinity;
        const known = means.map((_, k) => k).filter((k) => means[k] !== null && !(log && means[k] <= 0));
        areas.push({
          x: [...known.map((k) => xs[k]), ...known.toReversed().map((k) => xs[k])],
          y: [...known.map((k) => means[k] + (stds[k] ?? 0)), ...known.toReversed().map((k) => Math.max(floor, means[k] - (stds[k] ?? 0)))],
          type: "scatter", mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: faded(colour, 0.14), hoverinfo: "skip",
        });
      }
      const seeds = look.seeds === 1 ? "one seed" : `${look.seeds} seeds`;
      lines.push({
        x: xs, y: log ? means.map((value) => (value > 0 ? value : null)) : means, name: item.title,
        type: "scatter", mode: "lines+markers", connectgaps: true,
        line: { color: colour, width: 2, dash: look.dash }, opacity: 0.95,
        marker: { symbol: look.symbol, size: 6.5, color: colour, maxdisplayed: 7 },
        hoverinfo: "text",
        hovertext: means.map((value, k) => value === null ? "" : `<b>${safe(item.title)}</b><br>${safe(names.y)} ${short(value)}` +
          `${stds ? ` ± ${short(stds[k] ?? 0)}` : ""}<br>${safe(names.x)} ${short(xs[k])} · ${seeds}`),
      });
    }
    return [...areas, ...lines];
  };

  async function draw() {
    drawn = true;
    const shown = visible();
    const lines = shown.map(lineOf);
    const type = scale ?? suits(lines), log = type === "log";
    const bands = band.checked && shown.length <= 16;
    scales.forEach((button) => button.setAttribute("aria-pressed", String(button.value === type)));
    items.forEach((item) => {
      item.button.hidden = !passes(item);
      item.button.setAttribute("aria-pressed", String(item.on));
      item.button.disabled = !lineOf(item);
    });
    all(".group").forEach((group) => { group.hidden = !group.querySelector(".item:not([hidden])"); });
    find(".shown").textContent = `${shown.length} of ${items.length} curves`;
    const limits = range(lines, log, bands);
    const decades = log && limits ? limits[1] - limits[0] : 0;
    const layout = {
      ...chartStyle(), hovermode: "closest", dragmode: touch ? false : "zoom",
      uirevision: [metric.value, axis.value, type].join(),
      xaxis: {
        ...axisStyle(), title: { text: safe(axis.selectedOptions[0].text), standoff: 8 },
        ...(axis.value === "bytes_sent" ? { ticksuffix: "B" } : {}),
        ...(["epoch", "sim_time"].includes(axis.value) ? { exponentformat: "e" } : { tickformat: "~s" }),
      },
      yaxis: {
        ...axisStyle(), title: { text: safe(metric.selectedOptions[0].text), standoff: 10 }, type, range: limits,
...(log ? logTicks(decades) : { exponentformat: "e" }),
      },
    };
    const P = await plotly();
    await P.react(chart, traces(shown, log, bands, limits), layout, chartOptions);
  }

  // Metrics per step know steps only; an axis that the metric does not have is not offered.
  const offer = () => {
    for (const option of axis.options) option.disabled = !(option.value in chosen().lines);
    if (axis.selectedOptions[0].disabled) axis.value = [...axis.options].find((option) => !option.disabled).value;
  };
  metric.addEventListener("change", () => { scale = null; offer(); draw(); });
  axis.addEventListener("change", draw);
  band.addEventListener("change", draw);
  scales.forEach((button) => button.addEventListener("click", () => { scale = button.value; draw(); }));
  all(".filter").forEach((box) => {
    box.addEventListener("change", draw);
    box.parentElement.addEventListener("dblclick", (event) => {
      event.preventDefault();
      for (const other of box.closest("fieldset").querySelectorAll(".filter")) other.checked = other === box;
      draw();
    });
  });
  items.forEach((item) => {
    item.button.addEventListener("click", () => { item.on = !item.on; draw(); });
    item.button.addEventListener("dblclick", () => { items.forEach((other) => { other.on = other === item; }); draw(); });
  });
  all(".whole").forEach((button) => button.addEventListener("click", () => {
    const members = items.filter((item) => button.parentElement.contains(item.button) && passes(item));
    const on = !members.some((item) => item.on);
    members.forEach((item) => { item.on = on; });
    draw();
  }));
  const bulk = { all: () => true, none: () => false, first: (item) => item.button.dataset.first === "1" };
  all(".bulk button").forEach((button) => button.addEventListener("click", () => {
    items.forEach((item) => { item.on = bulk[button.value](item); });
    draw();
  }));
  offer();
  inView(chart, draw);
  redraws.push(() => { if (drawn) draw(); });
}
document.querySelectorAll(".explorer").forEach(explorer);
