// The operator's page: a sign-in, then what is at work, read again every few seconds while the page is seen.
import { Problem, call, forget, signedInUser, useSecretKey, useSession } from "./api.js";
import { attemptView, attention, checks, failed, letters, queues, slots, stuck, tiles } from "./board.js";
import { charts } from "./charts.js";
import { announce, ask, button, card, el, field, showView } from "./dom.js";
import { clock, texts } from "./operations_texts.en.js";
import { publishableKey } from "./session.js";

const STATE_MS = 5000;
const SERIES_MS = 30_000;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

let leaving = new AbortController(); // ends the reading of the board

function problemBox({ code, detail, help, requestId }) {
  return el("div", { class: "problem", role: "alert", "data-code": code },
    el("p", {}, el("strong", {}, code === "network" ? texts.network : detail || texts.failed_call)),
    help ? el("p", {}, help) : null,
    requestId ? el("p", { class: "hint" }, `${texts.number_for_support} ${requestId}`) : null);
}

function signInView(fault) {
  const key = el("input", { type: "password", autocomplete: "off", spellcheck: "false", name: "key", required: true });
  const place = el("div", {}, fault ? problemBox(fault) : null);
  const enter = async () => {
    try {
      await begin(await call("access"));
    } catch (error) {
      forget();
      place.replaceChildren(problemBox(error));
    }
  };
  const form = el("form", { novalidate: true, onsubmit: async (event) => {
    event.preventDefault();
    const given = key.value.trim();
    key.value = "";
    if (!given) { place.replaceChildren(problemBox(new Problem({ detail: texts.key_missing }))); return; }
    useSecretKey(given);
    await enter();
  } }, field(texts.secret_key, key, texts.secret_key_hint), el("div", { class: "actions" }, el("button", { type: "submit" }, texts.sign_in)));
  const user = publishableKey ? signedInUser() : null;
  return el("div", { class: "narrow stack" },
    el("h1", { tabindex: "-1" }, texts.sign_in_title), el("p", { class: "lead" }, texts.sign_in_lead),
    el("section", { class: "card" }, form,
      user ? button(texts.continue_as(user), async () => { useSession(); await enter(); }, "quiet") : null,
      publishableKey && !user ? el("p", { class: "hint" }, `${texts.or_user} `, el("a", { href: "/" }, texts.page), `, ${texts.then_return}`) : null,
      place));
}

function leave(fault) {
  leaving.abort();
  forget();
  document.getElementById("account").replaceChildren();
  showView(signInView(fault));
}

// A part of the board. It is drawn again only when its data changed, and keeps the focus.
function part(id, draw) {
  const node = el("div", { id, class: `part ${id}` });
  let drawn = "";
  return { node, show: (data, isForced = false) => {
    const shown = JSON.stringify(data);
    if (shown === drawn && !isForced) return;
    drawn = shown;
    const focused = node.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    const open = [...node.querySelectorAll("details")].map((each) => each.open);
    node.replaceChildren(...[draw(data)].flat());
    node.querySelectorAll("details").forEach((each, at) => { each.open = open[at] ?? false; });
    if (focused) [...node.querySelectorAll("[data-focus]")].find((each) => each.dataset.focus === focused)?.focus();
  } };
}

// Reads again and again while the page is seen; `now` reads at once.
function reading(read, pause, signal) {
  let timer = 0;
  const next = async () => {
    clearTimeout(timer);
    if (signal.aborted || document.hidden) return;
    await read();
    if (!signal.aborted) timer = setTimeout(next, pause);
  };
  document.addEventListener("visibilitychange", next, { signal });
  return next;
}

async function begin({ name, may_act: mayAct }) {
  leaving = new AbortController();
  const { signal } = leaving;
  document.getElementById("account").replaceChildren(
    el("span", { class: "user" }, mayAct ? name : `${name}, ${texts.looks}`), button(texts.sign_out, () => { announce(texts.signed_out); leave(); }, "quiet small"));
  const view = board(mayAct, signal);
  await view.read();
  if (!signal.aborted) showView(view.node);
}

function board(mayAct, signal) {
  const freshness = el("p", { class: "hint freshness" });
  const outage = el("div", { role: "status" }); // of the reads that repeat; what a command did stays until the next one
  const place = el("div", { role: "status" });
  const found = el("div", { id: "found" });
  const chosen = new Set();
  let hours = 3;
  let last = null;
  let series = null;
  const commands = { mayAct, show, retry, redrive };
  const parts = {
    attention: part("now", attention), tiles: part("tiles", tiles), charts: part("charts", () => charts(series, hours, (each) => { hours = each; parts.charts.show(series, true); })),
    queues: part("queues", queues), stuck: part("stuck", (data) => stuck(data, commands)), failed: part("failed", (data) => failed(data, commands)),
    letters: part("letters", (data) => letters(data, commands, chosen)), slots: part("slots", slots), checks: part("checks", checks),
  };

  async function attempted(work, told) {
    try {
      await work();
      told.replaceChildren();
    } catch (error) {
      if (signal.aborted) return false;
      if (error.status === 401) leave(new Problem({ detail: texts.session_ended }));
      else if (!(error instanceof Problem)) throw error;
      else told.replaceChildren(problemBox(error));
      return false;
    }
    return true;
  }
  const quietly = (work) => async () => {
    if (await attempted(work, outage) || signal.aborted) return;
    freshness.textContent = last ? texts.stale(clock(last.now, true)) : "";
    freshness.classList.add("stale");
  };
  // `work` returns the sentence that tells what was done.
  const loudly = async (work) => {
    let done;
    if (await attempted(async () => { done = await work(); }, place) && done) place.replaceChildren(el("p", { class: "note" }, done));
    if (place.firstChild) place.scrollIntoView({ block: "nearest" });
  };

  const readState = quietly(async () => {
    last = await call("state", { signal });
    const { queues: rows, consumers } = last;
    parts.attention.show(last);
    parts.tiles.show({ unfinished: last.unfinished, job_slots: last.job_slots, consumers: { alive: consumers.alive }, mirror: last.mirror, takedowns: last.takedowns, erasures: last.erasures });
    parts.queues.show({ queues: rows, consumers: { unread_queues: consumers.unread_queues } });
    parts.stuck.show({ stuck: last.stuck });
    parts.letters.show({ dead_letters: last.dead_letters });
    parts.slots.show({ slots: last.slots });
    parts.checks.show({ voice_checks: last.voice_checks, consents: last.consents });
    freshness.textContent = texts.as_of(clock(last.now, true));
    freshness.classList.remove("stale");
  });
  const readSeries = quietly(async () => {
    series = await call("series", { signal });
    parts.charts.show(series);
    parts.failed.show({ failed: series.failed });
  });
  const stateNow = reading(readState, STATE_MS, signal);
  const seriesNow = reading(readSeries, SERIES_MS, signal);
  const readNow = () => Promise.all([stateNow(), seriesNow()]);

  async function show(id) {
    await loudly(async () => {
      const attempt = await call(`attempts/${id}`, { signal });
      const shown = card(`${texts.attempt} ${attempt.attempt.id.slice(0, 8)}`, ...attemptView(attempt, commands),
        el("div", { class: "actions" }, button(texts.close, () => { found.replaceChildren(); document.querySelector("h1").focus(); }, "quiet small")));
      found.replaceChildren(shown);
      shown.querySelector("h2").focus();
    });
  }

  async function retry(id) {
    if (!await ask(texts.retry_question, texts.retry, texts.no, [texts.retry_text, id])) return;
    await loudly(async () => {
      const { status } = await call(`attempts/${id}/retry`, { method: "POST" });
      found.replaceChildren();
      await readNow();
      return texts.retried(status);
    });
  }

  async function redrive(ids) {
    if (!await ask(texts.redrive_question(ids.length), texts.redrive(ids.length), texts.no, [texts.redrive_text])) return;
    await loudly(async () => {
      const sent = await call("dead-letters/redrive", { method: "POST", body: { ids } });
      chosen.clear();
      await readNow();
      return texts.redriven(sent.length);
    });
  }

  async function sweep() {
    if (!await ask(texts.sweep_question, texts.sweep, texts.no, [texts.sweep_text], "")) return;
    await loudly(async () => {
      const done = await call("sweep", { method: "POST" });
      await readNow();
      return texts.swept(done);
    });
  }

  const id = el("input", { type: "text", autocomplete: "off", spellcheck: "false" });
  const find = el("form", { class: "find", novalidate: true, onsubmit: async (event) => {
    event.preventDefault();
    if (UUID.test(id.value.trim())) await show(id.value.trim());
    else await loudly(() => { throw new Problem({ detail: texts.not_an_id }); });
  } }, field(texts.attempt_id, id), el("button", { type: "submit", class: "quiet" }, texts.find));
  const node = el("div", { class: "board" },
    el("div", { class: "row top" }, el("div", {}, el("h1", { tabindex: "-1" }, texts.sign_in_title), freshness),
      mayAct ? el("div", { class: "actions", id: "sweep" }, button(texts.sweep, sweep, "quiet")) : null),
    outage, place, parts.attention.node, parts.tiles.node, parts.charts.node, found,
    parts.stuck.node, parts.letters.node, parts.failed.node, parts.queues.node, parts.slots.node, parts.checks.node, card(texts.find_title, find));
  return { node, read: readNow };
}

leave();
