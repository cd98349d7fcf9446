// The three plots: attempts, errors by provider, time until ready.
import { el } from "./dom.js";
import { clock, count, duration, percent, texts } from "./operations_texts.en.js";
import { barPlot, legend, linePlot, table } from "./plots.js";
import { merged, percentile, sum, summed } from "./series.js";

const PROVIDERS = 6; // that have a line of their own
const figure = (title, lead, ...children) => {
  const node = el("section", { class: "card figure", "aria-label": title }, el("h2", {}, title), el("p", { class: "hint" }, lead));
  node.append(...children.filter(Boolean));
  return node;
};
const numbers = (caption, columns, rows) => el("details", {}, el("summary", {}, texts.as_table), table(caption, columns, rows, "numbers"));
const none = () => el("p", { class: "empty" }, texts.no_attempts);

function attempts({ times, outcomes, queued }, more) {
  const shown = ["ready", "failed", "cancelled", "expired"].filter((each) => each === "ready" || each === "failed" || sum(outcomes[each]));
  const totals = [...shown.map((each) => [each, texts.outcome[each], count(sum(outcomes[each]))]), ["queued", texts.outcome.queued, count(sum(queued))]];
  const described = `${texts.reached_title}: ${totals.map(([, name, total]) => `${total} ${name}`).join(", ")}.`;
  const isEmpty = !sum(queued) && !shown.some((each) => sum(outcomes[each]));
  const titleOf = (index) => `${clock(times[index])}: ${shown.map((each) => `${outcomes[each][index]} ${texts.outcome[each]}`).join(", ")}, ${queued[index]} ${texts.outcome.queued}`;
  const data = { times, bars: shown.map((each) => [each, outcomes[each]]), line: queued, labelOf: count, timeOf: clock, titleOf };
  return figure(texts.reached_title, texts.reached_lead, more, legend(totals), isEmpty ? none() : barPlot(described, data),
    numbers(texts.reached_title, [texts.interval, ...shown.map((each) => texts.outcome[each]), texts.outcome.queued],
      times.map((time, index) => [clock(time), ...shown.map((each) => count(outcomes[each][index])), count(queued[index])])));
}

function errors({ times, providers, codes }) {
  if (!providers.length) return figure(texts.errors_title, texts.errors_lead, none());
  const shown = providers.slice(0, PROVIDERS);
  const rates = shown.map(([, { failed, all }]) => failed.map((each, index) => (all[index] ? each / all[index] : null)));
  const totals = shown.map(([name, { failed, all }], index) => [`line-${index}`, name, texts.rate(sum(failed), sum(all))]);
  const described = `${texts.errors_title}: ${totals.map(([, name, total]) => `${name}: ${total}`).join("; ")}.`;
  const data = { times, lines: rates.map((values, index) => [`line-${index}`, values]), labelOf: percent, timeOf: clock, isLog: false };
  return figure(texts.errors_title, texts.errors_lead, legend(totals), linePlot(described, data),
    codes.length ? el("ul", { class: "codes plain", "aria-label": texts.error_codes }, codes.slice(0, 8).map(([code, times]) => el("li", {}, el("code", {}, code), ` ${count(times)}`))) : null,
    numbers(texts.errors_title, [texts.interval, ...shown.map(([name]) => name)],
      times.map((time, index) => [clock(time), ...shown.map(([, { failed, all }]) => (all[index] ? `${count(failed[index])} / ${count(all[index])}` : ""))])));
}

function latencies({ times, scales }) {
  const all = merged(scales);
  if (!all.size) return figure(texts.latency_title, texts.latency_lead, none());
  const lines = [["p50", 0.5], ["p99", 0.99]].map(([name, part]) => [name, scales.map((each) => percentile(each, part))]);
  const totals = [["p50", "p50", duration(percentile(all, 0.5))], ["p99", "p99", duration(percentile(all, 0.99))]];
  const described = `${texts.latency_title}: ${totals.map(([, name, value]) => `${name} ${value}`).join(", ")}.`;
  const shown = (value) => (value === null ? "" : duration(value));
  return figure(texts.latency_title, texts.latency_lead, legend(totals),
    linePlot(described, { times, lines, labelOf: duration, timeOf: clock, isLog: true }),
    numbers(texts.latency_title, [texts.interval, "p50", "p99"], times.map((time, index) => [clock(time), shown(lines[0][1][index]), shown(lines[1][1][index])])));
}

// `chosen` is the window in hours; `choose` is called with another one.
export function charts(series, chosen, choose) {
  const sums = summed(series, chosen);
  const choice = el("div", { class: "choice", role: "group", "aria-label": texts.window }, Object.entries(texts.hours).map(([hours, name]) =>
    el("button", { type: "button", class: "quiet small", "data-focus": `hours-${hours}`, "aria-pressed": String(Number(hours) === chosen), onclick: () => choose(Number(hours)) }, name)));
  const isPartial = !series.is_complete && Date.parse(series.from) > Date.parse(series.now) - chosen * 3_600_000;
  return [
    attempts(sums, el("div", { class: "row" }, choice, isPartial ? el("p", { class: "hint" }, texts.incomplete) : null)),
    errors(sums), latencies(sums),
  ];
}
