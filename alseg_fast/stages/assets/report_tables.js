// Run facts, score histogram, class and failure tables.
function drawHistogram() {
  const svg = byId("histogram"), log = byId("histogram-log").checked, width = Math.max(280, svg.clientWidth || 640);
  const bins = data.histograms[Number(byId("histogram-column").value)];
  const svgMake = (tag, attributes, text = "") => {
    const element = document.createElementNS(svg.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    svg.append(element);
    return element;
  };
  const sum = (counts) => counts.reduce((a, b) => a + b, 0);
  const [inPool, inSelection] = [sum(bins.pool), sum(bins.selection)];
  const height = (count, total) => (log ? Math.log10(1 + count) : total ? count / total : 0);
  const highest = Math.max(1e-9, ...bins.pool.map((c) => height(c, inPool)), ...bins.selection.map((c) => height(c, inSelection)));
  const [left, right, top, bottom] = [48, width - 8, 12, 208], bar = (right - left) / bins.pool.length;
  const y = (value) => bottom - (value / highest) * (bottom - top);
  svg.setAttribute("viewBox", `0 0 ${width} 246`);
  svg.replaceChildren();
  const ticks = log ? Array.from({ length: Math.floor(highest) + 1 }, (_, i) => [Math.log10(1 + 10 ** i), (10 ** i).toLocaleString("en")])
    : [0, 0.5, 1].map((part) => [part * highest, `${(100 * part * highest).toFixed(highest < 0.1 ? 1 : 0)} %`]);
  for (const [value, text] of ticks) {
    if (value > highest * 1.0001) continue;
    svgMake("line", { x1: left, x2: right, y1: y(value), y2: y(value) });
    svgMake("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, text);
  }
  const edge = (i) => bins.low + ((bins.high - bins.low) * i) / bins.pool.length;
  bins.pool.forEach((count, i) => {
    const label = `${format(edge(i), 3)} to ${withUnit(format(edge(i + 1), 3), bins.unit)}: pool ${count.toLocaleString("en")}, selection ${bins.selection[i].toLocaleString("en")}`;
    const draw = (kind, value, inset) => {
      const rect = svgMake("rect", { class: kind, x: left + i * bar + inset, width: Math.max(0.5, bar - 2 * inset), y: y(value), height: Math.max(0, bottom - y(value)) });
      rect.append(document.createElementNS(svg.namespaceURI, "title"));
      rect.lastChild.textContent = label;
    };
    draw("pool-bar", height(count, inPool), Math.min(0.5, bar * 0.1));
    draw("selection-bar", height(bins.selection[i], inSelection), bar * 0.25);
  });
  const decimals = Math.max(0, 2 - Math.floor(Math.log10(bins.high - bins.low)));
  for (const part of width < 420 ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]) {
    const anchor = part === 0 ? "start" : part === 1 ? "end" : "middle";
    svgMake("text", { x: left + part * (right - left), y: bottom + 18, "text-anchor": anchor }, (bins.low + part * (bins.high - bins.low)).toFixed(Math.min(9, decimals)));
  }
  svgMake("text", { x: (left + right) / 2, y: bottom + 32, "text-anchor": "middle" }, withUnit(bins.column, bins.unit && `(${bins.unit})`));
  const mean = (counts, total) => format(counts.reduce((a, c, i) => a + c * edge(i + 0.5), 0) / total, 3);
  const means = inPool && inSelection ? `mean ${mean(bins.pool, inPool)} in the pool, ${mean(bins.selection, inSelection)} in the selection` : "";
  const missing = bins.missing ? `; ${plural(bins.missing, "image")} without a value` : "";
  byId("histogram-note").textContent = (means ? `· ${means}` : "") + missing;
  svg.setAttribute("aria-label", `Histogram of ${bins.column}; ${means}`);
}
function buildFacts() {
  byId("banner").hidden = data.banner === null;
  byId("banner").textContent = data.banner ?? "";
  pairs(byId("facts"), data.facts);
  for (const [name, value] of data.details) byId("details").append(make("dt", { textContent: name }), make("dd", { textContent: value }));
  byId("selection-note").textContent = data.selection_note;
  fillTable(byId("class-table"),
    [["Class", "text"], ["Pool pixels", "number"], ["Selection", "number"], ["Top in images", "number"], ...data.measures.map(({ name, unit }) => [`Mean ${name.replaceAll("_", " ")}${unit && ` (${unit})`}`, "number"])],
    [...data.class_table].sort((a, b) => b.pool - a.pool).map((row) => [[swatch(row.id), row.name], percent(row.pool), percent(row.selection), row.images.toLocaleString("en"), ...row.means.map((value) => format(value, 3))]));
  const { total, groups, groups_left: left, rows } = data.failures;
  byId("failure-note").textContent = total ? `${plural(total, "image")} could not be scored.` : "None: no image failed.";
  byId("failure-groups-box").hidden = byId("failure-rows-box").hidden = total === 0;
  fillTable(byId("failure-groups"), [["Images", "number"], ["Stage", ""], ["Reason", "text"]],
    groups.map(([stage, error, count]) => [count.toLocaleString("en"), stage, error]).concat(left ? [["", "", `and ${left.toLocaleString("en")} other reasons`]] : []));
  byId("failure-rows-summary").textContent = rows.length < total
    ? `The first ${rows.length} of ${total.toLocaleString("en")} failed images; the rest is in the run's failures folder` : `All failed images: ${rows.length}`;
  fillTable(byId("failure-rows"), [["Image", "text"], ["Path or URL", "text"], ["Stage", ""], ["Reason", "text"]], rows.map(([id, uri, stage, error]) => [id, uri, stage, error]));
  for (const name of ["commands", "config", "batch"]) byId(name).textContent = data.reproduce[name];
  byId("batch").hidden = byId("batch-label").hidden = data.reproduce.batch === "";
  options(byId("histogram-column"), data.histograms.map(({ column }, i) => [i, column]));
  byId("histogram-column").value = data.histograms.findIndex(({ column }) => column === data.rank_column);
  byId("histogram-column").addEventListener("change", drawHistogram);
  byId("histogram-log").addEventListener("change", drawHistogram);
  window.addEventListener("resize", drawHistogram);
  drawHistogram();
}
