// The page of results: what is drawn and what the tables hold.
const shapeOf = new Map(); // settings of one strategy have one colour, and differ by dash and marker
const counts = new Map();
data.curves.forEach((curve, i) => {
  const place = counts.get(curve.strategy) ?? 0;
  counts.set(curve.strategy, place + 1);
  shapeOf.set(i, place);
});
const several = [...counts.values()].some((count) => count > 1);
const state = { axis: data.axes[0]?.key ?? "round", shown: new Set(data.curves.flatMap((curve, i) => (curve.main ? [i] : []))) };
const axisName = () => data.axes.find((axis) => axis.key === state.axis)?.label ?? "round";

function seriesOf(curve, i, field, axis) {
  const place = shapeOf.get(i);
  const points = (curve.y[field] ?? []).map((v, k) => {
    const x = curve.x[axis]?.[k] ?? null;
    return v && (x !== null || curve.once) ? { x: x ?? 0, y: v[0], s: v[1], n: v[2] } : null;
  });
  return { label: curve.name, colour: colourOf(curve.colour), dash: DASHES[place % DASHES.length], shape: place % 4, flat: curve.once && looped, points };
}
const looped = data.curves.some((curve) => !curve.once);
function paperSeries() {
  if (!data.published || !byId("show-published").checked) return [];
  return data.published.curves.filter((curve) => curve.once || curve.x[state.axis]).map((curve) => ({
    label: `${curve.name}, published`, colour: colourOf(curve.colour), dash: "3 3", shape: 0, paper: true, flat: curve.once,
    points: curve.y.map((y, k) => ({ x: curve.x[state.axis]?.[k] ?? 0, y, s: 0, n: 1 })),
  }));
}
function drawScores() {
  const own = data.curves.flatMap((curve, i) => (state.shown.has(i) ? [seriesOf(curve, i, "score", state.axis)] : []));
  const paper = paperSeries();
  drawChart(byId("score-chart"), { series: [...paper, ...own], xName: axisName(), yName: `${data.metric}, %`, wholeX: state.axis === "round", spread: byId("show-spread").checked, height: 430 });
  const notes = ["Lines: mean over seeds; bands: one population standard deviation to each side."];
  if (looped && data.curves.some((curve) => curve.once)) notes.push("Level lines: methods that are trained once.");
  if (byId("show-published").checked) notes.push(paper.length ? "Fine dashed lines with open circles: published means." : "The published curves are known over rounds and pictures only.");
  byId("score-note").textContent = notes.join(" ");
}
function buildLegend() {
  const legend = byId("score-legend");
  legend.replaceChildren(...data.curves.flatMap((curve, i) => {
    if (several && !byId("all-settings").checked && !curve.main) return [];
    const button = make("button", { type: "button" }, sample(seriesOf(curve, i, "score", state.axis)), curve.name);
    button.setAttribute("aria-pressed", state.shown.has(i));
    button.addEventListener("click", () => {
      state.shown.has(i) ? state.shown.delete(i) : state.shown.add(i);
      button.setAttribute("aria-pressed", state.shown.has(i));
      drawScores();
    });
    return [button];
  }));
}
function buildAxes() {
  const box = byId("axes"), buttons = data.axes.map(({ key, label }) => {
    const button = make("button", { type: "button", textContent: label });
    button.setAttribute("aria-pressed", key === state.axis);
    button.addEventListener("click", () => {
      state.axis = key;
      for (const other of buttons) other.setAttribute("aria-pressed", other === button);
      drawScores();
    });
    return button;
  });
  box.append(...buttons);
  box.hidden = buttons.length < 2;
  byId("published-box").hidden = !data.published;
  byId("all-settings-box").hidden = !several;
  byId("show-published").addEventListener("change", drawScores);
  byId("show-spread").addEventListener("change", drawAll);
  byId("all-settings").addEventListener("change", (event) => {
    state.shown = new Set(data.curves.flatMap((curve, i) => (curve.main || event.target.checked ? [i] : [])));
    buildLegend();
    drawScores();
  });
}

// ---- one parameter varied ------------------------------------------------------------------------------
const chartsToDraw = [];
function buildAblations() {
  const box = byId("settings");
  box.hidden = data.ablations.length === 0;
  for (const { strategy, parameter, colour, lines, published, note } of data.ablations) {
    const svg = svgMake("svg"), legend = make("div", { className: "series" });
    const numbers = lines.every((line) => line.points.every((p) => p.number !== null));
    const own = lines.flatMap((line) => line.points), paper = numbers ? published : [];
    const values = [...own, ...paper].map((p) => p.number), words = [...new Set(own.map((p) => p.value))];
    const wide = numbers && Math.min(...values) > 0 && Math.max(...values) >= 10 * Math.min(...values);
    const xOf = (p) => (wide ? Math.log10(p.number) : numbers ? p.number : words.indexOf(p.value));
    const ends = [...paper].sort((a, b) => a.number - b.number), order = ends.length ? [ends[0], ends.at(-1), ...ends] : [];
    const xPlaces = [...new Map([...own.map((p) => [xOf(p), numbers ? String(p.number) : p.value]), ...order.map((p) => [xOf(p), String(p.number)])])];
    const series = lines.map((line, i) => ({
      label: [`here`, line.name].filter(Boolean).join(", "), colour: colourOf(colour), dash: DASHES[i % DASHES.length], shape: i % 4, whiskers: true,
      points: line.points.filter((p) => p.auc).map((p) => ({ x: xOf(p), y: p.auc[0], s: p.auc[1], n: p.auc[2] })).sort((a, b) => a.x - b.x),
    }));
    if (paper.length) series.unshift({ label: "published", colour: colourOf(null), dash: "3 3", shape: 0, paper: true,
      points: paper.map((p) => ({ x: xOf(p), y: p.auc, s: 0, n: 1 })).sort((a, b) => a.x - b.x) });
    legend.append(...series.map((s) => make("span", { className: "static" }, sample(s), s.label)));
    box.append(make("div", { className: "panel" }, make("div", { className: "panel-head" }, make("h2", { textContent: `${strategy}: area against ${parameter}` })),
      make("div", { className: "plot" }, svg), legend, make("p", { className: "muted note", textContent: published.length ? note : "" })));
    chartsToDraw.push(() => drawChart(svg, { series, xName: wide ? `${parameter} (logarithmic)` : parameter, yName: `AUC of ${data.metric}, %`, xPlaces, height: 300 }));
  }
}

// ---- pseudo-masks, uncertainty -------------------------------------------------------------------------
function buildField(name, fields, published, dashed) {
  const found = data.curves.flatMap((curve, i) => fields.flatMap((field, k) => {
    if (!curve.y[field]?.some(Boolean)) return [];
    const series = seriesOf(curve, i, field, "round");
    return [{ ...series, flat: false, main: curve.main, ...(k ? { label: `${curve.name}: ${dashed}`, dash: "2 4", paper: true } : {}) }];
  }));
  byId(`${name}-box`).hidden = found.length === 0;
  if (!found.length) return;
  const chosen = new Set(found.filter((s) => s.main).length ? found.filter((s) => s.main) : found);
  const paper = published.length ? [{ label: "published, read off a figure", colour: colourOf(null), dash: "3 3", shape: 0, paper: true, points: published.map(([x, y]) => ({ x, y, s: 0, n: 1 })) }] : [];
  const all = [...found, ...paper];
  const last = Math.max(...found.flatMap((s) => s.points.map((p) => p?.x ?? 0)));
  if (published.every(([x]) => x <= last)) for (const s of paper) chosen.add(s); // else it would squeeze ours; one click adds it
  const draw = () => drawChart(byId(`${name}-chart`), { series: all.filter((s) => chosen.has(s)), xName: "round", wholeX: true,
    yName: name === "auroc" ? "AUROC, %" : `${data.metric}${found.some((s) => s.paper) ? " and foreground" : ""}, %`, spread: byId("show-spread").checked, height: 300 });
  byId(`${name}-legend`).replaceChildren(...all.map((s) => {
    const button = make("button", { type: "button" }, sample(s), s.label);
    button.setAttribute("aria-pressed", chosen.has(s));
    button.addEventListener("click", () => {
      chosen.has(s) ? chosen.delete(s) : chosen.add(s);
      button.setAttribute("aria-pressed", chosen.has(s));
      draw();
    });
    return button;
  }));
  chartsToDraw.push(draw);
}

// ---- tables --------------------------------------------------------------------------------------------
function buildTables() {
  fillTable(byId("main-table"), data.main_table.heads, data.main_table.rows);
  byId("area-note").textContent = data.area_note;
  byId("compared").textContent = data.compared;
  fillTable(byId("differences"), [["Higher", "text"], ["than", "text"], ["Verdict", "verdict"], ["by, points", "number"], ["noise", "number"], ["seeds ahead", "number"]], data.differences);
  byId("rule").textContent = data.rule;
  const inside = data.differences.filter((d) => d[2] === "inside the noise").map(([a, b]) => `${a} and ${b}`);
  const judged = data.differences.filter((d) => d[4] !== "–").length;
  byId("inside").textContent = !data.differences.length ? "No two strategies have a complete run yet."
    : !judged ? "Too few seeds to tell any difference from noise."
      : inside.length > 8 ? `${inside.length} of ${plural(data.differences.length, "difference")} are inside the noise: those pairs cannot be told apart here. The table names them.`
      : inside.length ? `Inside the noise, so not to be told apart here: ${inside.join("; ")}.` : "No difference is inside the noise.";
  byId("orderings-box").hidden = !data.published;
  const kinds = [["comes out", "yes", "Come out"], ["does not come out", "no", "Do not come out"], ["undecided", "open", "Undecided"]];
  const count = (outcome) => data.orderings.filter(([each]) => each === outcome).length;
  byId("orderings-note").textContent = data.orderings.length
    ? `Of ${plural(data.orderings.length, "published ordering")}, ${count("comes out")} come out, ${count("does not come out")} do not, and ${count("undecided")} cannot be decided.`
    : "No two of the published strategies have a complete run here.";
  byId("orderings").append(...kinds.flatMap(([outcome, css, title]) => {
    const found = data.orderings.filter(([each]) => each === outcome);
    if (!found.length) return [];
    return [make("h3", { textContent: `${title}: ${found.length}` }), make("ul", { className: "outcomes" }, ...found.map(([, words]) => make("li", { className: css, textContent: words })))];
  }));
  for (const { title, heads, rows, note } of data.rounds) {
    const table = make("table"), scroll = make("div", { className: "scroll wide", tabIndex: 0, role: "region", label: title }, table);
    fillTable(table, heads, rows);
    byId("rounds-tables").append(make("details", {}, make("summary", { textContent: title }), scroll, make("p", { className: "muted note", textContent: note })));
  }
  byId("rounds").hidden = data.rounds.length === 0;
  const list = (items) => items.map((textContent) => make("li", { textContent }));
  byId("deviation-list").append(data.deviations.length ? make("ul", {}, ...list(data.deviations)) : make("p", { className: "muted", textContent: "None was stated." }));
  byId("source-box").hidden = !data.published;
  if (data.published) {
    byId("source").textContent = `${data.published.title}. ${data.published.source}.`;
    byId("source-notes").append(...list(data.published.notes));
  }
}
function buildTimes() {
  byId("time").hidden = data.times.length === 0;
  const steps = [...new Set(data.times.flatMap((t) => Object.keys(t.steps)))], colour = (step) => colourOf(steps.indexOf(step));
  const seconds = (value) => (value === undefined ? "–" : value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toFixed(3));
  byId("step-legend").append(...steps.map((step) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = colour(step);
    return make("span", { className: "static" }, swatch, step);
  }));
  fillTable(byId("times"), [["Seconds a round", "text"], ...steps.map((step) => [step, "number"]), ["all", "number"], [data.cheap.join(" + "), "number"], ["", "bars"]],
    data.times.map((t) => {
      const bar = make("div", { className: "bar" });
      for (const step of steps) {
        if (!t.steps[step]) continue;
        const part = make("span", { title: `${step}: ${seconds(t.steps[step])} s, ${percent(t.steps[step] / t.seconds)}` });
        part.style.background = colour(step);
        part.style.width = `${(100 * t.steps[step]) / t.seconds}%`;
        bar.append(part);
      }
      return [t.name, ...steps.map((step) => seconds(t.steps[step])), seconds(t.seconds), percent(t.share), bar];
    }));
  const shares = data.times.filter((t) => t.share !== null && data.cheap.some((step) => t.steps[step])).map((t) => t.share);
  byId("time-note").textContent = shares.length ? `Wall time, mean over rounds and seeds. ${data.cheap.join(", ")} together take ${percent(Math.min(...shares))} to ${percent(Math.max(...shares))} of a round.` : "";
}
function drawAll() {
  drawScores();
  for (const draw of chartsToDraw) draw();
}
byId("banner").hidden = data.banner === null;
byId("banner").textContent = data.banner ?? "";
pairs(byId("facts"), data.facts);
buildAxes();
buildLegend();
buildTables();
buildAblations();
buildField("pseudo", ["pseudo_score", "pseudo_foreground"], data.published?.pseudo ?? [], "foreground share");
buildField("auroc", ["error_auroc"], [], "");
byId("quality").hidden = byId("pseudo-box").hidden && byId("auroc-box").hidden;
byId("pseudo-note").textContent = "Pseudo-masks against the hidden truth, a round." + (data.curves.some((c) => c.y.pseudo_foreground) ? " Dotted, open markers: share of foreground in them." : "");
buildTimes();
for (const [id, text] of [["curves", "Curves"], ["areas", "Areas"], ["findings", "Findings"], ["settings", "Settings"], ["quality", "Pseudo-masks"], ["time", "Time"], ["rounds", "Rounds"], ["deviations", "Deviations"]]) {
  if (!byId(id).hidden) byId("nav").append(make("a", { href: `#${id}`, textContent: text }));
}
drawAll();
let waiting = 0;
window.addEventListener("resize", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(drawAll); });
