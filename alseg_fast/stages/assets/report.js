// Gallery, toolbar and lightbox.
const state = { mode: "image", measure: data.start_measure, opacity: 60, threshold: 0, sort: "rank", descending: false };
const MODES = [["image", "Image"], ["labels", "Prediction"], ["heat", "Heatmap"]];

// ---- a view: one picture with its overlay, in a card or in the lightbox ----------------------------------
function whyDisabled(card, mode) {
  const picture = data.pictures[card.picture], measure = data.measures[state.measure];
  if (mode === "image") return "";
  if (!window.DecompressionStream) return "this browser cannot unpack the maps; use a current one";
  if (!picture.planes.length) return picture.overlay_problem || "no overlay";
  if (mode === "heat" && !(measure && picture.planes.includes(measure.name))) return `no heatmap of ${measure ? measure.name : "any measure"}`;
  return "";
}
function makeView(stageTag) {
  const view = { loaded: -1, turn: 0 };
  view.image = make("img", { alt: "", decoding: "async", hidden: true });
  view.canvas = make("canvas", { hidden: true });
  view.frame = make("span", { className: "frame" }, view.image, view.canvas);
  view.placeholder = make("span", { className: "placeholder", hidden: true });
  view.badge = make("span", { className: "badge", hidden: true });
  view.stage = make(stageTag, { className: "stage" }, view.frame, view.placeholder, view.badge);
  view.modes = make("div", { className: "segments", role: "group", label: "Overlay of this picture" });
  view.buttons = MODES.map(([mode, name]) => {
    const button = make("button", { type: "button", textContent: name });
    button.addEventListener("click", () => {
      view.card.mode = mode;
      show(view);
      refreshOther(view);
      drawLegend(byId("legend"), mode === "image" ? state.mode : mode);
    });
    view.modes.append(button);
    return button;
  });
  return view;
}
function assign(view, card) {
  const picture = data.pictures[card.picture];
  view.card = card;
  view.frame.style.setProperty("--ratio", String(picture.width / picture.height));
  view.placeholder.hidden = !picture.problem;
  view.placeholder.textContent = picture.problem ? `No picture: ${picture.problem}` : "";
  showButtons(view);
}
const modeOf = (card) => { const mode = card.mode ?? state.mode; return whyDisabled(card, mode) ? "image" : mode; };
function showButtons(view) {
  view.buttons.forEach((button, i) => {
    const reason = whyDisabled(view.card, MODES[i][0]);
    button.disabled = reason !== "";
    button.title = reason ? `${MODES[i][1]}: ${reason}` : "";
    button.setAttribute("aria-pressed", String(modeOf(view.card) === MODES[i][0]));
  });
}
async function show(view) {
  const { card } = view, picture = data.pictures[card.picture], mode = modeOf(card), turn = ++view.turn;
  showButtons(view);
  if (view.loaded !== card.picture) {
    view.loaded = card.picture;
    view.image.hidden = picture.problem !== "";
    if (!picture.problem) view.image.src = `data:image/jpeg;base64,${block(card.picture).jpeg}`;
    view.canvas.hidden = true;
  }
  const measure = data.measures[state.measure], above = measure && picture.above[measure.name];
  view.badge.hidden = mode === "image" || state.threshold === 0 || !above;
  if (above) view.badge.textContent = `${percent(above[state.threshold] / 10000)} ≥ ${thresholdText()}`;
  view.placeholder.hidden = !picture.problem || mode !== "image";
  if (mode === "image") { view.canvas.hidden = true; return; }
  const maps = await planes(card.picture);
  if (turn !== view.turn) return;
  paint(view.canvas, picture, maps, mode, measure, (state.threshold / data.levels) * 255);
  view.canvas.classList.toggle("smooth", mode === "heat");
  view.canvas.hidden = false;
}

// ---- gallery -------------------------------------------------------------------------------------------
const idText = (card) => card.region === null || card.region === undefined ? card.image_id : `${card.image_id} · region ${card.region}`;
function chips(card, most) {
  return card.shares.slice(0, most).map(([id, share]) => make("li", {}, swatch(id), `${className(id)} ${percent(share)}`));
}
function makeCard(card) {
  const view = makeView("button");
  view.stage.type = "button";
  view.stage.setAttribute("aria-label", `Enlarge ${idText(card)}`);
  view.stage.addEventListener("click", () => openLightbox(card));
  view.stage.append(make("span", { className: "rank", textContent: `#${card.rank}` }));
  const size = card.width ? `${card.width} × ${card.height} px` : "";
  const facts = [size, card.cost === null ? "" : `cost ${format(card.cost)}`, card.reason, card.note].filter(Boolean).join(" · ");
  const body = make("div", { className: "card-body" },
    make("div", { className: "card-top" }, make("span", { className: "score", textContent: format(card.score), title: "Score of the selection" }), view.modes),
    make("h3", { textContent: idText(card), title: card.uri }),
    make("p", { className: "muted", textContent: facts }),
    make("ul", { className: "chips", label: "Predicted classes" }, ...chips(card, 3)));
  view.element = make("li", { className: "card" }, view.stage, body);
  assign(view, card);
  view.element.view = view;
  return view;
}
const views = data.cards.map(makeCard), visible = new Set();
let order = views;
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) { visible.add(target.view); show(target.view); } else visible.delete(target.view);
  }
}, { rootMargin: "500px" });
const ratios = data.pictures.map((picture) => picture.width / picture.height).sort((a, b) => a - b);
const middle = ratios[ratios.length >> 1] ?? 4 / 3;
document.documentElement.style.setProperty("--stage-ratio", String(Math.min(1.6, Math.max(0.85, middle))));
let waiting = false;
function refresh() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const view of visible) show(view);
    if (lightbox.open) show(enlarged);
  });
}
function refreshOther(view) {
  const other = view === enlarged ? views.find((v) => v.card === view.card) : enlarged;
  if (other.card === view.card) show(other);
  drawLegend(byId("lightbox-legend"), modeOf(enlarged.card ?? view.card));
}

// ---- toolbar -------------------------------------------------------------------------------------------
function thresholdText() {
  const measure = data.measures[state.measure];
  return withUnit(format(measure.low + (state.threshold / data.levels) * (measure.high - measure.low), 3), measure.unit);
}
function showControls() {
  document.documentElement.style.setProperty("--overlay-opacity", String(state.opacity / 100));
  const most = Math.max(1, Math.ceil((data.measures[state.measure]?.highest ?? 1) * data.levels));
  state.threshold = Math.min(state.threshold, most);
  for (const input of document.querySelectorAll("[data-control=threshold]")) input.max = most;
  const texts = { opacity: `${state.opacity} %`, threshold: state.threshold && data.measures.length ? `≥ ${thresholdText()}` : "off" };
  for (const name of ["opacity", "threshold"]) {
    for (const input of document.querySelectorAll(`[data-control=${name}]`)) {
      input.value = state[name];
      input.setAttribute("aria-valuetext", texts[name]);
    }
    for (const output of document.querySelectorAll(`[data-shows=${name}]`)) output.textContent = texts[name];
  }
  [...byId("modes").querySelectorAll("button")].forEach((button, i) => button.setAttribute("aria-pressed", String(state.mode === MODES[i][0])));
  drawLegend(byId("legend"), state.mode);
  if (enlarged.card) drawLegend(byId("lightbox-legend"), modeOf(enlarged.card));
}
function drawLegend(box, mode) {
  box.replaceChildren();
  if (mode === "labels") {
    const ids = data.class_table.filter((row) => row.selection > 0).sort((a, b) => b.selection - a.selection).map((row) => row.id);
    for (const id of ids.slice(0, 24)) box.append(make("span", {}, swatch(id), className(id)));
    if (ids.length > 24) box.append(make("span", { className: "more", textContent: `and ${ids.length - 24} more` }));
  } else if (mode === "heat" && data.measures.length) {
    const measure = data.measures[state.measure], canvas = make("canvas", { width: 256, height: 1 });
    const image = new ImageData(256, 1), end = measure.low + measure.limit * (measure.high - measure.low);
    magma.forEach((colour, i) => image.data.set([...colour, 255], 4 * i));
    canvas.getContext("2d").putImageData(image, 0, 0);
    const least = format(measure.low, 3), most = withUnit(format(end, 3), measure.unit);
    box.append(...[measure.name, least, canvas, measure.limit < 1 ? `≥ ${most}` : most].map((part) => make("span", {}, part)));
    const note = "colours end where 99.5 % of the shown pixels lie below";
    if (measure.limit < 1) box.append(make("span", { className: "muted", textContent: `(${note}; the measure reaches ${withUnit(format(measure.high, 3), measure.unit)})` }));
  } else {
    const reasons = data.cards.map((card) => whyDisabled(card, "labels"));
    const hint = reasons.length && reasons.every(Boolean) ? `No overlays: ${reasons[0]}.` : "Choose Prediction or Heatmap to lay it over every picture, or the buttons of one card.";
    box.append(make("span", { className: "muted", textContent: hint }));
  }
}
const options = (select, pairs) => select.append(...pairs.map(([value, text]) => make("option", { value, textContent: text })));
const shareOf = (card, id) => (card.shares.find(([c]) => c === id) ?? [0, 0])[1];
const collator = new Intl.Collator(undefined, { numeric: true });
function sortKey(card) {
  const [kind, index] = state.sort.split(":");
  if (kind === "column") return card.scores[index];
  if (kind === "class") return shareOf(card, Number(index));
  return card[kind === "id" ? "image_id" : kind];
}
function compare(a, b) {
  const [x, y] = [sortKey(a.card), sortKey(b.card)];
  if (x === null || y === null) return (x === null) - (y === null) || a.card.rank - b.card.rank; // missing last
  const order = typeof x === "string" ? collator.compare(x, y) : x - y;
  return (state.descending ? -order : order) || a.card.rank - b.card.rank;
}
function arrange() {
  order = [...views].sort(compare);
  byId("gallery").append(...order.map((view) => view.element));
  byId("direction").textContent = state.descending ? "↓" : "↑";
  byId("direction").title = state.descending ? "Highest first" : "Lowest first";
  byId("direction").setAttribute("aria-label", byId("direction").title);
  filter();
}
function filter() {
  const text = byId("text-filter").value.trim().toLowerCase(), label = byId("class-filter").value;
  let count = 0;
  for (const { card, element } of order) {
    element.hidden = !idText(card).toLowerCase().includes(text) || (label !== "" && String(card.label) !== label);
    count += element.hidden ? 0 : 1;
  }
  byId("shown").textContent = `${count} of ${views.length} shown`;
}
function buildToolbar() {
  for (const [mode, name] of MODES) {
    const button = make("button", { type: "button", textContent: name });
    button.addEventListener("click", () => {
      state.mode = mode;
      for (const view of views) { view.card.mode = undefined; showButtons(view); }
      showControls();
      refresh();
    });
    button.disabled = mode !== "image" && data.cards.length > 0 && data.cards.every((card) => whyDisabled(card, mode));
    if (button.disabled) button.title = `${name}: ${whyDisabled(data.cards[0], mode)}`;
    byId("modes").append(button);
  }
  options(byId("measure"), data.measures.map((measure, i) => [i, measure.name]));
  byId("measure").value = state.measure;
  byId("measure-label").hidden = data.measures.length < 2;
  byId("measure").addEventListener("change", (event) => {
    state.measure = Number(event.target.value);
    views.forEach(showButtons);
    showControls();
    refresh();
  });
  for (const input of document.querySelectorAll("[data-control]")) {
    input.addEventListener("input", () => {
      state[input.dataset.control] = Number(input.value);
      showControls();
      if (input.dataset.control === "threshold") refresh();
    });
  }
  options(byId("sort"), [["rank", "rank"], ["score", "selection score"], ["id", "id"]]);
  options(byId("sort"), data.columns.map(({ name }, i) => [`column:${i}`, name]));
  options(byId("sort"), data.class_table.filter((row) => row.selection > 0).slice(0, 100).map(({ id }) => [`class:${id}`, `share of ${className(id)}`]));
  byId("sort").addEventListener("change", (event) => {
    state.sort = event.target.value;
    state.descending = !["rank", "id"].includes(state.sort);
    arrange();
  });
  byId("direction").addEventListener("click", () => { state.descending = !state.descending; arrange(); });
  const counts = new Map();
  for (const { label } of data.cards) if (label !== null) counts.set(label, (counts.get(label) ?? 0) + 1);
  options(byId("class-filter"), [["", "any"], ...[...counts].sort((a, b) => b[1] - a[1]).map(([id, n]) => [id, `${className(id)} (${n})`])]);
  byId("class-filter").addEventListener("change", filter);
  byId("text-filter").addEventListener("input", filter);
}

// ---- lightbox ------------------------------------------------------------------------------------------
const lightbox = byId("lightbox"), enlarged = makeView("div");
document.querySelector(".lightbox-stage").append(enlarged.stage);
document.querySelector(".lightbox-modes").append(enlarged.modes);
function openLightbox(card) {
  assign(enlarged, card);
  byId("lightbox-title").textContent = `#${card.rank} · ${idText(card)}`;
  const scores = card.scores.map((value, i) => make("tr", {}, make("td", { textContent: data.columns[i].name }),
    make("td", { className: "number", textContent: value === null ? "–" : withUnit(format(value), data.columns[i].unit) })));
  const lines = [card.uri, card.width ? `${card.width} × ${card.height} px` : "", card.reason, card.note].filter(Boolean);
  byId("lightbox-facts").replaceChildren(
    ...lines.map((textContent) => make("p", { textContent })),
    make("h3", { textContent: "Predicted classes" }), make("ul", { className: "chips" }, ...chips(card, 30)),
    make("h3", { textContent: "Scores" }), make("table", {}, make("tbody", {}, ...scores)));
  if (!lightbox.open) lightbox.showModal();
  drawLegend(byId("lightbox-legend"), modeOf(card));
  show(enlarged);
}
function step(by) {
  const shown = order.filter((view) => !view.element.hidden), at = shown.findIndex((view) => view.card === enlarged.card);
  const next = shown[(at + by + shown.length) % shown.length];
  if (next) openLightbox(next.card);
}
lightbox.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select")) return; // arrow keys move a slider
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
lightbox.addEventListener("click", (event) => { if (event.target === lightbox) lightbox.close(); });
lightbox.addEventListener("close", () => {
  const view = views.find((v) => v.card === enlarged.card);
  if (view && !view.element.hidden) view.stage.focus();
});
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => lightbox.close());

buildFacts();
buildToolbar();
showControls();
arrange();
for (const view of views) watcher.observe(view.element);
order.slice(0, 12).forEach(show); // at once: an observer answers only after the first frame
window.addEventListener("beforeprint", () => { for (const view of views) if (!view.element.hidden) show(view); });
