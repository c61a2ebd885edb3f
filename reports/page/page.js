"use strict";
(() => {
  let content; // the figures, as reports.page.figure_data wrote them
  const dark = matchMedia("screen and (prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 700px)");
  const touch = matchMedia("(pointer: coarse), (hover: none)");
  const print = matchMedia("print");
  const places = [...document.querySelectorAll(".plot")];
  const drawn = new Set();

  // The figures come in the light theme's colours; a copy gets the dark theme's, and its hover boxes their texts.
  function themed(value) {
    if (Array.isArray(value)) return value.map(themed);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, key === "hovertext" ? texts(entry) : themed(entry)]));
    return dark.matches && typeof value === "string" && Object.hasOwn(content.dark, value) ? content.dark[value] : value;
  }

  function colour(variable) {
    return getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
  }

  function texts(indices) {
    return Array.isArray(indices) ? indices.map((index) => content.texts[index]) : indices;
  }

  // Narrow screens: the legend in two columns under the plot, and no texts in it.
  function fitted(figure) {
    for (const note of figure.layout.annotations ?? []) if (note.name) note.visible = !narrow.matches;
    if (narrow.matches && figure.layout.annotations?.some((note) => note.name)) {
      Object.assign(figure.layout.legend, { y: -0.22, yanchor: "top", entrywidth: 0.46, entrywidthmode: "fraction" });
      figure.layout.legend.title.side = "top";
    }
    if (touch.matches) figure.layout.dragmode = false; // a finger on a figure scrolls the page
    return figure;
  }

  // Sizes are set here, not left to Plotly, which would resize too late for the printer.
  function draw(place) {
    const name = place.id.replace("plot-", "");
    const figure = fitted(themed(content.figures[name]));
    if (figure.layout.meta?.axes) brushed(figure);
    const options = {
      displaylogo: false,
      displayModeBar: touch.matches || narrow.matches ? false : "hover",
      modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
      toImageButtonOptions: { format: "svg", filename: name },
    };
    Plotly.react(place, figure.data, { ...figure.layout, width: place.clientWidth, height: place.clientHeight }, options);
    place.querySelector(".static")?.remove();
    if (figure.layout.meta?.axes && !drawn.has(place)) listenToBrush(place);
    drawn.add(place);
  }

  // The first figure is drawn at once, the others as they come near; all of them for the printer.
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "500px 0px" });
  function redraw() {
    for (const place of print.matches ? places : drawn) draw(place);
  }

  // Brushing: on each axis of the parallel coordinates the range, of 0 to 1, that trials must cross to be kept.
  const brushes = new Map();
  const brushBar = document.querySelector(".brush");

  function brushed(figure) {
    const count = figure.layout.meta.axes.length;
    let kept = 0, all = 0;
    const dimmed = { x: [], y: [], mode: "lines", hoverinfo: "skip", showlegend: false, line: { color: colour("--line"), width: 0.7 } };
    for (const trace of figure.data) {
      const picked = { x: [], y: [], hovertext: [] };
      for (let start = 0; start < trace.y.length; start += count + 1) {
        const heights = trace.y.slice(start, start + count + 1);
        const keeps = [...brushes].every(([axis, [low, high]]) => low <= heights[axis] && heights[axis] <= high);
        all += 1;
        kept += keeps;
        const line = keeps ? picked : dimmed;
        line.x.push(...trace.x.slice(start, start + count + 1));
        line.y.push(...heights);
        if (keeps) picked.hovertext.push(...trace.hovertext.slice(start, start + count + 1));
      }
      Object.assign(trace, picked);
    }
    figure.data.unshift(dimmed);
    for (const [axis, [low, high]] of brushes) {
      figure.layout.shapes.push({ type: "rect", x0: axis - 0.05, x1: axis + 0.05, y0: low, y1: high, line: { color: colour("--accent"), width: 2 } });
    }
    const words = [...brushes.keys()].map((axis) => figure.layout.meta.axes[axis]).join(", ");
    const status = brushes.size ? `${kept} of ${all} settings kept by ${words}` : "";
    if (brushBar.querySelector(".brush-status").textContent !== status) brushBar.querySelector(".brush-status").textContent = status;
  }

  function setBrush(axis, range) {
    if (range) brushes.set(axis, range);
    else brushes.delete(axis);
  }

  function listenToBrush(place) {
    place.on("plotly_selected", (event) => {
      if (!event?.range) return;
      const [left, right] = [...event.range.x].sort((a, b) => a - b);
      const range = [...event.range.y].sort((a, b) => a - b);
      const count = content.figures.parallel.layout.meta.axes.length;
      for (let axis = Math.max(Math.ceil(left), 0); axis <= Math.min(Math.floor(right), count - 1); axis += 1) setBrush(axis, range);
      draw(place);
    });
    place.on("plotly_doubleclick", clearBrushes);
  }

  function clearBrushes() {
    brushes.clear();
    brushBar.querySelector(".brush-part").value = "";
    draw(document.getElementById("plot-parallel"));
  }

  function offerBrushes() {
    const axis = brushBar.querySelector(".brush-axis");
    const part = brushBar.querySelector(".brush-part");
    axis.append(...content.figures.parallel.layout.meta.axes.map((name, index) => new Option(name, index)));
    part.addEventListener("change", () => {
      setBrush(Number(axis.value), part.value ? part.value.split(" ").map(Number) : null);
      draw(document.getElementById("plot-parallel"));
    });
    axis.addEventListener("change", () => { part.value = ""; });
    brushBar.querySelector(".brush-clear").addEventListener("click", clearBrushes);
    brushBar.hidden = false;
  }

  // A figure's data as a file, made here, because the page may load nothing.
  function csv(columns) {
    const cell = (value) => /[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? "");
    const names = Object.keys(columns);
    const rows = (columns[names[0]] ?? []).map((_, row) => names.map((name) => cell(columns[name][row])));
    return [names.map(cell), ...rows].map((row) => `${row.join(",")}\r\n`).join("");
  }

  function download(name) {
    const columns = Object.fromEntries(Object.entries(content.tables[name]).map(([head, index]) => [head, content.columns[index]]));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv(columns)], { type: "text/csv" }));
    link.download = `${name}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  // Empty values come last in either direction.
  function compare(a, b, direction) {
    if (a === "" || b === "") return (a === "") - (b === "");
    const difference = Number(a) - Number(b);
    return direction * (Number.isNaN(difference) ? a.localeCompare(b) : difference);
  }

  function sortBy(head) {
    const table = head.closest("table");
    const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.querySelectorAll("thead th")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const key = (row) => row.cells[head.cellIndex].dataset.key ?? row.cells[head.cellIndex].textContent;
    const keyed = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    table.tBodies[0].append(...keyed.sort((a, b) => compare(a[0], b[0], direction)).map(([, row]) => row));
  }

  // Both filters of the table at once: the pressed button's state, and the words that a row must hold.
  const filters = document.querySelector(".filters");
  const find = filters?.querySelector("input");
  function filter() {
    const wanted = filters.querySelector("[aria-pressed=true]").dataset.show;
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...document.querySelectorAll("table.sortable tbody tr")];
    for (const row of rows) {
      const cells = [...row.cells].map((cell) => cell.textContent.toLowerCase());
      row.hidden = (wanted !== "" && !row.dataset.show.split(" ").includes(wanted)) || !words.every((word) => cells.some((text) => text.includes(word)));
    }
    filters.querySelector(".found").textContent = words.length ? `${rows.filter((row) => !row.hidden).length} trials` : "";
  }

  function show(button) {
    for (const other of filters.querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
    filter();
  }

  for (const button of document.querySelectorAll("table.sortable th button")) button.addEventListener("click", () => sortBy(button.parentElement));
  if (filters) {
    for (const button of filters.querySelectorAll("button")) button.addEventListener("click", () => show(button));
    find.addEventListener("input", filter);
    filters.hidden = false;
  }

  async function read(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
  }

  async function start() {
    content = await read(document.getElementById("figure-data").textContent);
    draw(places[0]);
    for (const place of places.slice(1)) near.observe(place);
    for (const query of [dark, narrow, print]) query.addEventListener("change", redraw);
    addEventListener("resize", redraw);
    for (const button of document.querySelectorAll("button.csv")) {
      button.addEventListener("click", () => download(button.dataset.table));
      button.hidden = false;
    }
    if (brushBar) offerBrushes();
  }
  start();
})();
