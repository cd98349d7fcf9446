// Plots as SVG, drawn for the width that there is. Each has a sentence for those who do not see it, and its numbers as a table.
import { el, newId } from "./dom.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const MARGIN = { top: 8, right: 8, bottom: 22, left: 44 };

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((each) => each !== null));
  return node;
}

const step = (highest, most = 4) => {
  const rough = highest / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
};

// Of a linear axis that begins with 0. Counts have no halves.
export function ticks(highest, isWhole = true) {
  const size = isWhole ? Math.max(1, step(Math.max(highest, 1))) : step(highest || 1);
  const found = [];
  for (let at = 0; at < highest + size * 0.999; at += size) found.push(at);
  return found.length > 1 ? found : [0, size];
}

// Of a logarithmic axis: 1, 2, 5, 10, … around the values; every second or third of them where they span much.
export function logTicks(lowest, highest) {
  const all = [];
  for (let power = -3; power <= 6; power += 1) for (const each of [1, 2, 5]) all.push(each * 10 ** power);
  const first = Math.max(0, all.findLastIndex((each) => each <= lowest));
  const found = all.findIndex((each) => each >= highest);
  const last = Math.max(found < 0 ? all.length - 1 : found, first + 1);
  const skip = Math.ceil((last - first) / 5);
  const begin = Math.max(first - ((skip - ((last - first) % skip)) % skip), last % skip);
  return all.filter((_, at) => at >= begin && at <= last && (last - at) % skip === 0);
}

function frame(width, times, axis, labelOf, timeOf) {
  const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
  const slot = inner.width / times.length;
  const x = (index) => MARGIN.left + index * slot;
  const y = (value) => MARGIN.top + inner.height * (1 - axis.place(value));
  const every = Math.ceil(times.length / Math.max(2, Math.floor(inner.width / 72)));
  const grid = svg("g", { class: "grid" },
    ...axis.ticks.flatMap((each) => [
      svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(each), y2: y(each) }),
      svg("text", { x: MARGIN.left - 6, y: y(each) + 4, "text-anchor": "end" }, labelOf(each))]),
    ...times.map((time, index) => (index % every || x(index) + 30 > width ? null
      : svg("text", { x: x(index), y: HEIGHT - 5, "text-anchor": index ? "middle" : "start" }, timeOf(time)))));
  return { x, y, slot, grid };
}

const linear = (highest, isWhole) => {
  const found = ticks(highest, isWhole);
  return { ticks: found, place: (value) => value / found.at(-1) };
};
const logarithmic = (lowest, highest) => {
  const found = logTicks(lowest, highest);
  const [low, high] = [Math.log(found[0]), Math.log(found.at(-1))];
  return { ticks: found, place: (value) => Math.min(1, Math.max(0, (Math.log(value) - low) / (high - low))) };
};

// Stacked bars, one an interval, and one line of steps over them. bars: [[class, values]], line: values.
function drawBars(width, { times, bars, line, labelOf, timeOf, titleOf }) {
  const sums = times.map((_, index) => bars.reduce((sum, [, values]) => sum + values[index], 0));
  const { x, y, slot, grid } = frame(width, times, linear(Math.max(...sums, ...line, 1), true), labelOf, timeOf);
  const gap = slot > 5 ? 1 : 0;
  const columns = times.map((_, index) => {
    let below = 0;
    const column = svg("g", { class: "column" }, svg("title", {}, titleOf(index)),
      svg("rect", { class: "room", x: x(index), y: MARGIN.top, width: slot, height: HEIGHT - MARGIN.top - MARGIN.bottom }));
    for (const [kind, values] of bars) {
      if (!values[index]) continue;
      const top = y(below + values[index]);
      column.append(svg("rect", { class: `bar ${kind}`, x: x(index) + gap / 2, y: top, width: Math.max(slot - gap, 0.5), height: y(below) - top }));
      below += values[index];
    }
    return column;
  });
  const path = line.map((value, index) => `${index ? "L" : "M"}${x(index)} ${y(value)}H${x(index + 1)}`).join("");
  return [grid, ...columns, svg("path", { class: "line queued", d: path })];
}

// Lines; an interval without a value is a gap. lines: [[class, values]].
function drawLines(width, { times, lines, labelOf, timeOf, isLog }) {
  const values = lines.flatMap(([, each]) => each.filter((value) => value !== null));
  const axis = isLog ? logarithmic(Math.min(...values), Math.max(...values)) : linear(Math.max(...values, 0.01), false);
  const { x, y, slot, grid } = frame(width, times, axis, labelOf, timeOf);
  const middle = (index) => x(index) + slot / 2;
  const drawn = lines.flatMap(([kind, each]) => {
    let path = "";
    const points = [];
    each.forEach((value, index) => {
      if (value === null) return;
      const isNext = index > 0 && each[index - 1] !== null;
      path += `${isNext ? "L" : "M"}${middle(index)} ${y(value)}`;
      if (!isNext && (each[index + 1] ?? null) === null) points.push(svg("circle", { class: `point ${kind}`, cx: middle(index), cy: y(value), r: 2.5 }));
    });
    return [svg("path", { class: `line ${kind}`, d: path }), ...points];
  });
  return [grid, ...drawn];
}

// Drawn again when its width changes; `described` is the sentence.
function plot(described, draw) {
  const picture = svg("svg", { role: "img", "aria-label": described, height: HEIGHT });
  const place = el("div", { class: "plot" }, picture);
  let drawnFor = 0;
  new ResizeObserver(([{ contentRect }]) => {
    const width = Math.floor(contentRect.width);
    if (width < 60 || width === drawnFor) return;
    drawnFor = width;
    picture.setAttribute("width", width);
    picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    picture.replaceChildren(...draw(width));
  }).observe(place);
  return place;
}

export const barPlot = (described, data) => plot(described, (width) => drawBars(width, data));
export const linePlot = (described, data) => plot(described, (width) => drawLines(width, data));

export function legend(entries) {
  return el("ul", { class: "legend plain" }, entries.map(([kind, name, value]) =>
    el("li", {}, el("span", { class: `key ${kind}`, "aria-hidden": "true" }), `${name} `, value === undefined ? null : el("strong", {}, value))));
}

// cards: on a narrow screen each row is a block, so that its sentence is seen. The roles stay, whatever the style makes of the elements.
export function table(caption, columns, rows, kind = "") {
  const id = newId("caption");
  const nameOf = (at) => (typeof columns[at] === "string" ? columns[at] : null);
  return el("div", { class: "scrolls", tabindex: "0", role: "group", "aria-labelledby": id },
    el("table", { class: kind, role: "table" }, el("caption", { id, class: "unseen" }, caption),
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map((each) => el("th", { scope: "col", role: "columnheader" }, each)))),
      el("tbody", { role: "rowgroup" }, rows.map((row) => el("tr", { role: "row" }, row.map((cell, at) => (at
        ? el("td", { role: "cell", "data-name": nameOf(at) }, cell) : el("th", { scope: "row", role: "rowheader", "data-name": nameOf(at) }, cell))))))));
}
