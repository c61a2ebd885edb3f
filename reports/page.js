"use strict";
(() => {
  const data = JSON.parse(document.getElementById("figure-data").textContent);
  const dark = matchMedia("screen and (prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 700px)");
  const touch = matchMedia("(pointer: coarse)");

  // The figures come in the light theme's colours; a copy gets the dark theme's.
  function themed(value) {
    if (Array.isArray(value)) return value.map(themed);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, themed(entry)]));
    return dark.matches && typeof value === "string" && Object.hasOwn(data.dark, value) ? data.dark[value] : value;
  }

  // Where names have no room beside their marks, the legend lists the marks instead.
  function fitted(figure) {
    for (const trace of figure.data) if (trace.meta === "mark") trace.showlegend = narrow.matches;
    for (const note of figure.layout.annotations ?? []) if (note.name === "mark") note.visible = !narrow.matches;
    if (narrow.matches && figure.layout.legend.title) {
      Object.assign(figure.layout.legend, { y: -0.22, yanchor: "top", entrywidth: 0.46, entrywidthmode: "fraction" });
      figure.layout.legend.title.side = "top";
    }
    if (touch.matches) figure.layout.dragmode = false; // a finger on a figure scrolls the page
    return figure;
  }

  // Sizes are set here, not left to Plotly, which would resize too late for the printer.
  function draw() {
    for (const [name, figure] of Object.entries(data.figures)) {
      const place = document.getElementById(`plot-${name}`);
      const { data: traces, layout } = fitted(themed(figure));
      const options = {
        displaylogo: false,
        displayModeBar: touch.matches ? false : "hover",
        modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
        toImageButtonOptions: { format: "svg", filename: name },
      };
      Plotly.react(place, traces, { ...layout, width: place.clientWidth, height: place.clientHeight }, options);
    }
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
    const rows = [...table.tBodies[0].rows].sort((a, b) => compare(key(a), key(b), direction));
    table.tBodies[0].append(...rows);
  }

  function show(button) {
    for (const other of button.parentElement.querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
    const wanted = button.dataset.show;
    for (const row of document.querySelectorAll("table.sortable tbody tr")) row.hidden = wanted !== "" && !row.dataset.show.split(" ").includes(wanted);
  }

  for (const button of document.querySelectorAll("table.sortable th button")) button.addEventListener("click", () => sortBy(button.parentElement));
  for (const button of document.querySelectorAll(".filters button")) button.addEventListener("click", () => show(button));
  for (const filters of document.querySelectorAll(".filters")) filters.hidden = false;
  for (const query of [dark, narrow, matchMedia("print")]) query.addEventListener("change", draw);
  addEventListener("resize", draw);
  draw();
})();
