"use strict";
// What the pages share: the data of the page, elements, numbers as text, tables, the colours of kinds.
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("report-data").textContent);

// Text from the run reaches the page through textContent and attributes only, never as markup.
function make(tag, { role, label, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  if (role) element.setAttribute("role", role);
  if (label) element.setAttribute("aria-label", label);
  element.append(...children);
  return element;
}
const format = (value, digits = 4) => value === null || value === undefined ? "–" : String(Number(value.toPrecision(digits)));
const percent = (share) => share === null ? "–" : share > 0 && share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const withUnit = (text, unit) => (unit ? `${text} ${unit}` : text);
const PALETTE = ["4e79d9", "f28e2b", "3fa34d", "e15759", "9c6ade", "17becf", "f2c12e", "e377c2", "8c6d46", "9acd32",
  "1f5a99", "ff9da7", "00796b", "b3261e", "c5b0d5", "5f6bd0", "d4a017", "76b7b2", "a0522d", "7f9f3f"];
function fillTable(table, heads, rows) {
  const cell = (tag, value, kind) => {
    const element = make(tag, { className: kind });
    element.append(...(Array.isArray(value) ? value : [value]));
    if (tag === "th") element.scope = "col";
    return element;
  };
  table.replaceChildren(
    make("thead", {}, make("tr", {}, ...heads.map(([text, kind]) => cell("th", text, kind)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((value, i) => cell("td", value, heads[i][1]))))));
}
function pairs(list, entries) {
  list.append(...entries.map(([name, value]) => make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }))));
}
