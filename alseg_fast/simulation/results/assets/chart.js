// A line chart: series of points with a spread, axes, values under the pointer or the arrow keys.
// series: {label, colour, dash, shape, paper, flat, points: [{x, y, s, n} or null]}; flat: one value at every x.
const SVG = byId("score-chart").namespaceURI;
const DASHES = ["", "7 4", "2 4", "10 4 2 4", "1 6", "14 5"];
function svgMake(tag, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}
function colourOf(index) {
  return index === null || index === undefined ? "#8a929a" : index < PALETTE.length ? `#${PALETTE[index]}` : `hsl(${Math.round((index * 137.5) % 360)} 60% 50%)`;
}
function sample(series) {
  const svg = svgMake("svg", { viewBox: "0 0 26 12", "aria-hidden": "true" });
  svg.append(svgMake("line", { x1: 1, x2: 25, y1: 6, y2: 6, stroke: series.colour, "stroke-width": 2.5, "stroke-dasharray": series.dash || "none" }), marker(series, 13, 6, 3.2));
  return svg;
}
function marker(series, x, y, size) {
  const paint = { fill: series.paper ? "none" : series.colour, stroke: series.colour, "stroke-width": series.paper ? 1.3 : 0 };
  if (series.shape === 1) return svgMake("rect", { x: x - size, y: y - size, width: 2 * size, height: 2 * size, ...paint });
  if (series.shape === 2) return svgMake("path", { d: `M${x} ${y - 1.3 * size}L${x + 1.2 * size} ${y + size}H${x - 1.2 * size}Z`, ...paint });
  if (series.shape === 3) return svgMake("path", { d: `M${x} ${y - 1.4 * size}L${x + 1.4 * size} ${y}L${x} ${y + 1.4 * size}L${x - 1.4 * size} ${y}Z`, ...paint });
  return svgMake("circle", { cx: x, cy: y, r: size, ...paint });
}
function ticksOf(low, high, wanted, whole) {
  const raw = (high - low) / Math.max(1, wanted), power = 10 ** Math.floor(Math.log10(raw));
  let step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  if (whole) step = Math.max(1, Math.round(step));
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}
const spoken = (value) => Math.abs(value) >= 1e6 ? `${Number((value / 1e6).toPrecision(4))} M` : Math.abs(value) >= 1000
  ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
const inPercent = (point) => `${(100 * point.y).toFixed(2)}${point.n > 1 ? ` ± ${(100 * point.s).toFixed(2)}` : ""}`;

function drawChart(svg, { series, xName, yName, wholeX = false, xPlaces = null, spread = true, height = 380 }) {
  const width = Math.max(300, svg.clientWidth || 640), drawn = series.filter((s) => s.points.some(Boolean));
  const [left, right, top, bottom] = [58, width - 14, 12, height - 44];
  const points = drawn.flatMap((s) => s.points.filter(Boolean));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  svg.replaceChildren();
  svg.onpointermove = svg.onpointerleave = svg.onkeydown = svg.onblur = null;
  hideHover();
  if (!points.length) {
    svg.append(svgMake("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "Nothing to draw: no values, or nothing is chosen."));
    svg.setAttribute("aria-label", `${yName}: nothing to draw`);
    return;
  }
  const xs = drawn.filter((s) => !s.flat).flatMap((s) => s.points.filter(Boolean).map((p) => p.x));
  let [x0, x1] = xs.length ? [Math.min(...xs), Math.max(...xs)] : [0, 1];
  if (xPlaces) { // named places on the axis: [x, text], the ones to show first come first
    const all = xPlaces.map(([x]) => x), margin = 0.04 * (Math.max(...all) - Math.min(...all)) || 0.5;
    [x0, x1] = [Math.min(...all) - margin, Math.max(...all) + margin];
  }
  else if (x0 === x1) [x0, x1] = wholeX ? [x0 - 0.5, x1 + 0.5] : [x0 - Math.max(1, Math.abs(x0) * 0.1), x1 + Math.max(1, Math.abs(x1) * 0.1)];
  let y0 = Math.min(...points.map((p) => p.y - (spread ? p.s : 0))), y1 = Math.max(...points.map((p) => p.y + (spread ? p.s : 0)));
  const room = Math.max((y1 - y0) * 0.06, 0.004);
  [y0, y1] = [y0 - room, y1 + room];
  const px = (x) => left + ((x - x0) / (x1 - x0)) * (right - left), py = (y) => bottom - ((y - y0) / (y1 - y0)) * (bottom - top);
  for (const value of ticksOf(100 * y0, 100 * y1, height / 60)) {
    const y = py(value / 100);
    svg.append(svgMake("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }), svgMake("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, String(value)));
  }
  const places = xPlaces ?? (xs.length ? ticksOf(x0, x1, width / 110, wholeX) : []).map((v) => [v, spoken(v)]);
  const taken = [];
  places.forEach(([value, text]) => {
    const x = px(value), half = 4 * text.length + 4;
    svg.append(svgMake("line", { class: "grid", x1: x, x2: x, y1: bottom, y2: bottom + 4 }));
    if (taken.some(([at, reach]) => Math.abs(at - x) < reach + half)) return;
    taken.push([x, half]);
    svg.append(svgMake("text", { x, y: bottom + 18, "text-anchor": x > right - 16 ? "end" : "middle" }, text));
  });
  svg.append(svgMake("text", { class: "axis-name", x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, xs.length ? xName : ""),
    svgMake("text", { class: "axis-name", transform: `translate(14 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, yName));
  const bands = svgMake("g"), lines = svgMake("g");
  svg.append(bands, lines);
  for (const s of drawn) {
    const kind = s.paper ? "curve paper" : "curve", stroke = { stroke: s.colour, "stroke-dasharray": s.dash || "none" };
    const corner = (p, up) => `${px(p.x).toFixed(1)} ${py(p.y + up * p.s).toFixed(1)}`;
    if (s.flat) {
      const p = s.points.find(Boolean), y = py(p.y);
      if (spread && p.s > 0) bands.append(svgMake("rect", { class: "band", fill: s.colour, x: left, width: right - left, y: py(p.y + p.s), height: py(p.y - p.s) - py(p.y + p.s) }));
      lines.append(svgMake("line", { class: kind, ...stroke, x1: left, x2: right, y1: y, y2: y }), marker(s, right - 4, y, 3));
      continue;
    }
    const pieces = [[]]; // a missing round breaks the line
    for (const p of s.points) p ? pieces.at(-1).push(p) : pieces.push([]);
    for (const piece of pieces.filter((points) => points.length)) {
      if (spread && piece.length > 1 && piece.some((p) => p.s > 0) && !s.whiskers) {
        bands.append(svgMake("path", { class: "band", fill: s.colour, d: `M${[...piece.map((p) => corner(p, 1)), ...[...piece].reverse().map((p) => corner(p, -1))].join("L")}Z` }));
      } else if (spread) {
        for (const p of piece) if (p.s > 0) bands.append(svgMake("line", { class: "whisker", stroke: s.colour, x1: px(p.x), x2: px(p.x), y1: py(p.y - p.s), y2: py(p.y + p.s) }));
      }
      if (piece.length > 1) lines.append(svgMake("path", { class: kind, ...stroke, d: `M${piece.map((p) => corner(p, 0)).join("L")}` }));
      for (const p of piece) lines.append(marker(s, px(p.x), py(p.y), s.paper ? 2.4 : 3));
    }
  }
  svg.setAttribute("aria-label", `${yName} against ${xName}: ${drawn.map((s) => s.label).join(", ")}. Arrow keys read values.`);
  watch(svg, drawn, { px, xName, top, bottom, left, right, xText: new Map(xPlaces ?? []) });
}

// ---- values under the pointer --------------------------------------------------------------------------
const hideHover = () => { byId("hover").hidden = true; };
function watch(svg, drawn, { px, xName, top, bottom, left, right, xText }) {
  const guide = svgMake("line", { class: "guide", y1: top, y2: bottom, visibility: "hidden" });
  svg.append(guide);
  const stops = [...new Set(drawn.filter((s) => !s.flat).flatMap((s) => s.points.filter(Boolean).map((p) => p.x)))].sort((a, b) => a - b);
  if (!stops.length) stops.push(null); // flat lines only
  let at = -1;
  const show = (index) => {
    at = index;
    const stop = stops[at], x = stop === null ? (left + right) / 2 : px(stop), near = 7; // pixels: points so close count as one place
    const rows = drawn.flatMap((s) => {
      const p = s.flat ? s.points.find(Boolean) : s.points.filter(Boolean).reduce((best, q) => (!best || Math.abs(px(q.x) - x) < Math.abs(px(best.x) - x) ? q : best), null);
      return p && (s.flat || Math.abs(px(p.x) - x) <= near) ? [{ s, p }] : [];
    }).sort((a, b) => b.p.y - a.p.y);
    guide.setAttribute("x1", x); guide.setAttribute("x2", x); guide.setAttribute("visibility", stop === null ? "hidden" : "visible");
    const where = stop === null ? "" : `${xName} ${xText.get(stop) ?? spoken(stop)}`, shown = rows.slice(0, 18);
    const hover = byId("hover");
    hover.replaceChildren(make("p", { textContent: where }), make("table", {}, make("tbody", {}, ...shown.map(({ s, p }) => make("tr", {},
      make("td", {}, sample(s)), make("td", { textContent: s.label }), make("td", { className: "number", textContent: inPercent(p) }),
      make("td", { className: "number muted", textContent: p.n > 1 ? `${p.n} seeds` : "" }))))));
    if (rows.length > shown.length) hover.append(make("p", { textContent: `and ${rows.length - shown.length} more` }));
    hover.hidden = false;
    const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width, size = hover.getBoundingClientRect();
    const place = box.left + x * scale, over = place + 16 + size.width > document.documentElement.clientWidth;
    hover.style.left = `${Math.max(4, window.scrollX + (over ? place - 16 - size.width : place + 16))}px`;
    hover.style.top = `${window.scrollY + Math.max(4, box.top + top * scale)}px`;
  };
  const hide = () => { hideHover(); guide.setAttribute("visibility", "hidden"); };
  svg.onpointermove = (event) => {
    const box = svg.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    show(stops.reduce((best, stop, i) => (stop !== null && Math.abs(px(stop) - x) < Math.abs(px(stops[best]) - x) ? i : best), 0));
  };
  svg.onpointerleave = svg.onblur = hide;
  svg.setAttribute("tabindex", "0");
  svg.onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") hide();
    if (!by) return;
    event.preventDefault();
    show(Math.min(stops.length - 1, Math.max(0, at + by)));
  };
}
