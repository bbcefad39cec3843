// The player: nodes coloured by where they are while a run trains, beside the consensus error.

// viridis from its light end, at equal distances, as in the figures and films
const SCALE = ["#fde725", "#b5de2b", "#6ece58", "#35b779", "#1f9e89", "#26828e", "#31688e", "#3e4989", "#482878", "#440154"];
const MEAN = 65535; // the level of a node that is where the mean is
const FRAMES_PER_SECOND = 14;

function shade(part) {
  const place = Math.min(1, Math.max(0, part)) * (SCALE.length - 1);
  const low = Math.min(Math.floor(place), SCALE.length - 2);
  const channel = (colour, at) => parseInt(colour.slice(at, at + 2), 16);
  const mixed = [1, 3, 5].map((at) => {
    const start = channel(SCALE[low], at);
    return Math.round(start + (channel(SCALE[low + 1], at) - start) * (place - low));
  });
  return `rgb(${mixed.join()})`;
}

function player(element) {
  const find = (selector) => element.querySelector(selector);
  const { graphs, films } = JSON.parse(find(".numbers").textContent);
  const [select, colour, slider, when, play, graph, chart] =
    [".film", ".shade", ".frame", ".when", ".play", ".graph", ".chart"].map(find);
  const tip = document.getElementById("tip");
  let film, levels, circles = [], drawn = false, playing = 0, looked = -1;

  const number = () => Number(slider.value);
  const count = () => graphs[film.graph].at.length;
  const distance = (frame, node) => {
    const level = levels[frame * count() + node];
    return level === MEAN ? 0 : film.low * (film.high / film.low) ** (level / (MEAN - 1));
  };
  // Nodes are evaluated less often than they move: the last evaluation stands until the next.
  const evaluation = (frame) => {
    const known = Object.keys(film.local[colour.value] ?? {}).map(Number).filter((at) => at <= frame);
    return known.length ? Math.max(...known) : null;
  };
  const limits = () => {
    const values = Object.values(film.local[colour.value] ?? {}).flat().filter((value) => value !== null);
    return [Math.min(...values), Math.max(...values)];
  };
  const describe = (node) => {
    const parts = [`node ${node}`];
    if (film.sizes.length) parts.push(`${film.sizes[node]} samples`);
    parts.push(`distance ${short(distance(number(), node))}`);
    for (const option of colour.options) {
      const known = option.value === "" ? undefined : film.local[option.value];
      const at = Math.max(...Object.keys(known ?? {}).map(Number).filter((place) => place <= number()));
      const value = known?.[at]?.[node];
      if (value !== undefined && value !== null) parts.push(`${option.text.replace(" of each node", "")} ${short(value)}`);
    }
    return parts.join(" · ");
  };

  function show() {
    const frame = number();
    const local = colour.value !== "";
    const at = local ? evaluation(frame) : frame;
    const [low, high] = local ? limits() : [];
    circles.forEach((circle, node) => {
      const level = levels[frame * count() + node];
      const value = local ? film.local[colour.value]?.[at]?.[node] : level;
      let part = local ? (value - low) / (high - low || 1) : level === MEAN ? 0 : level / (MEAN - 1);
      if (value === undefined || value === null) part = null;
      circle.style.fill = part === null ? "var(--line)" : shade(part);
    });
    find(".low").textContent = short(local ? low : film.low);
    find(".high").textContent = short(local ? high : film.high);
    const evaluated = local && at !== null && at !== frame ? `, nodes as evaluated at step ${film.steps[at]}` : "";
    when.textContent = `step ${film.steps[frame]} · round ${film.rounds[frame]}${evaluated}`;
    slider.setAttribute("aria-valuetext", when.textContent);
    if (drawn) globalThis.Plotly.relayout(chart, { shapes: cursor(frame) });
    if (!tip.hidden && looked >= 0) tip.textContent = describe(looked);
  }

  const cursor = (frame) => [{
    type: "line", yref: "paper", x0: film.steps[frame], x1: film.steps[frame], y0: 0, y1: 1,
    line: { color: variable("--accent"), width: 2 },
  }];

  async function draw() {
    const values = film.consensus.map((value) => (value > 0 ? value : null));
    const positive = values.filter((value, k) => value !== null && !(k === 0 && value < 1e-8 * values[1]));
    const [low, high] = [Math.min(...positive), Math.max(...positive)].map(Math.log10);
    const layout = {
      ...chartStyle(0.53), hovermode: "x", dragmode: false, shapes: cursor(number()),
      xaxis: { ...axisStyle(), title: { text: "step", standoff: 8 }, tickformat: "~g" },
      yaxis: {
        ...axisStyle(), type: "log", title: { text: "consensus error", standoff: 10 },
        ...(positive.length ? { range: [low - 0.15, high + 0.15] } : {}),
        ...logTicks(high - low),
      },
    };
    const line = {
      x: film.steps, y: values, type: "scatter", mode: "lines", line: { color: variable("--accent"), width: 2 }, hoverinfo: "text",
      hovertext: values.map((value, k) => `step ${film.steps[k]}: ${value === null ? 0 : short(value)}`),
    };
    const P = await plotly();
    await P.react(chart, [line], layout, { ...chartOptions, displayModeBar: false });
    drawn = true;
  }

  function load() {
    film = films[select.value];
    const bytes = Uint8Array.from(atob(film.levels), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    levels = Uint16Array.from({ length: bytes.length / 2 }, (_, k) => view.getUint16(2 * k, true));
    for (const option of colour.options) option.disabled = option.value !== "" && !(option.value in film.local);
    if (colour.selectedOptions[0].disabled) colour.value = "";
    const { at, path, edges } = graphs[film.graph];
    graph.querySelector(".edges").setAttribute("d", path);
    graph.querySelector(".edges").style.opacity = edges < 100 ? 0.8 : Math.max(0.12, 60 / edges);
    const mean = film.sizes.length ? film.sizes.reduce((a, b) => a + b, 0) / film.sizes.length : 1;
    const varies = film.sizes.length > 0 && Math.max(...film.sizes) > 1.2 * Math.min(...film.sizes);
    const radius = Math.min(105, 640 / Math.sqrt(at.length) / 2.2, at.length > 64 ? 2400 / at.length : Infinity);
    const dots = at.map(([x, y], node) => {
      const size = varies ? Math.sqrt(Math.min(2.4, Math.max(0.4, film.sizes[node] / mean))) : 1;
      return `<circle cx="${x}" cy="${y}" r="${(radius * size).toFixed(1)}" data-node="${node}"/>`;
    });
    graph.querySelector(".nodes").innerHTML = dots.join("");
    circles = [...graph.querySelectorAll("circle")];
    find(".means").textContent = [
      colour.value === "" ? "Distance of each node to the mean of all, logarithmic." : "Each node on its own.",
      varies ? "Area: samples of the node." : "", path ? "" : "Too many edges to be drawn.",
    ].filter(Boolean).join(" ");
    slider.max = film.steps.length - 1;
    slider.value = Math.min(number(), film.steps.length - 1);
    show();
    if (drawn) draw();
  }

  const stop = () => {
    cancelAnimationFrame(playing);
    playing = 0;
    play.classList.remove("playing");
    play.setAttribute("aria-label", "play");
  };
  const start = () => {
    if (number() >= film.steps.length - 1) slider.value = 0;
    play.classList.add("playing");
    play.setAttribute("aria-label", "pause");
    let before = performance.now();
    const tick = (now) => {
      if (now - before >= 1000 / FRAMES_PER_SECOND) {
        before = now;
        slider.value = number() + 1;
        show();
        if (number() >= film.steps.length - 1) return stop();
      }
      playing = requestAnimationFrame(tick);
    };
    playing = requestAnimationFrame(tick);
  };
  play.addEventListener("click", () => (playing ? stop() : start()));
  slider.addEventListener("input", () => { stop(); show(); });
  select.addEventListener("change", () => { stop(); load(); });
  colour.addEventListener("change", load);

  // A node says what it is under the pointer, or chosen by the arrow keys.
  const look = (node) => {
    looked = node;
    circles.forEach((circle, other) => circle.classList.toggle("looked", other === node));
    tip.hidden = node < 0;
    if (node < 0) return;
    tip.textContent = describe(node);
    const box = circles[node].getBoundingClientRect();
    const left = Math.min(innerWidth - tip.offsetWidth - 8, Math.max(8, box.x + box.width / 2 - tip.offsetWidth / 2));
    tip.style.translate = `${left}px ${Math.max(8, box.y - tip.offsetHeight - 8)}px`;
  };
  graph.addEventListener("pointerover", (event) => look(Number(event.target.dataset.node ?? -1)));
  graph.addEventListener("pointerleave", () => look(-1));
  graph.addEventListener("blur", () => look(-1));
  graph.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!move && event.key !== "Escape") return;
    event.preventDefault();
    look(move ? (looked + move + count()) % count() : -1);
  });

  load();
  slider.value = Math.floor(film.steps.length / 5); // before it, nodes that start together look all the same
  show();
  inView(chart, draw);
  redraws.push(() => { if (drawn) draw(); });
}
document.querySelectorAll("#player").forEach(player);
