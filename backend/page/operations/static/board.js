// What is at work now: what needs attention, queues, attempts that stand still or failed, dead letters, slots.
import { button, card, el } from "./dom.js";
import { count, duration, moment, texts } from "./operations_texts.en.js";
import { table } from "./plots.js";

const [OVERDUE_MIRROR, OVERDUE_ERASURE, OVERDUE_ANCHOR] = [60, 86_400, 10_800]; // seconds after which it needs attention, as in the alerts
export const isFull = ({ slots, taken }) => slots !== null && taken >= slots;
const placeOf = ({ provider, region }) => (region ? `${provider} (${region})` : provider);
const short = (id) => el("code", { title: id }, id.slice(0, 8));
const stateOf = ({ status, runtime_status: runtime, preview_status: preview }) =>
  (status === "ready" ? [status, runtime, preview].join(" · ") : status);
const unseen = (name) => el("span", { class: "unseen" }, name);
const act = (name, label, key, onclick) =>
  el("button", { type: "button", class: "quiet small", "aria-label": label, "data-focus": key, onclick }, name);

export function attention(state) {
  const unread = state.consumers.unread_queues ?? [];
  const found = [
    state.stuck.length && ["#stuck", texts.stuck_count(state.stuck.length)],
    sumOf(state.queues, "dead_length") && ["#letters", texts.letter_count(sumOf(state.queues, "dead_length"))],
    unread.length && ["#queues", texts.unread(unread)],
    state.sweep.overdue && ["#sweep", texts.overdue_count(state.sweep.overdue)],
    state.sweep.errors && ["#sweep", texts.sweep_errors(state.sweep.errors)],
    state.mirror.oldest_seconds > OVERDUE_MIRROR && ["#queues", texts.mirrors_count(state.mirror.behind, duration(state.mirror.oldest_seconds))],
    state.consents.broken && ["#checks", texts.broken_consents(state.consents.broken)],
    state.consents.waiting_seconds > OVERDUE_ANCHOR && ["#checks", texts.late_anchors(duration(state.consents.waiting_seconds))],
    state.erasures.oldest_seconds > OVERDUE_ERASURE && ["#tiles", texts.late_erasures(state.erasures.open, duration(state.erasures.oldest_seconds))],
    ...state.voice_checks.filter((each) => each.error_code).map((each) => ["#checks", texts.checks_stopped(placeOf(each), each.error_code)]),
    ...state.voice_checks.filter((each) => each.is_late && !each.error_code).map((each) => ["#checks", texts.checks_late(placeOf(each), duration(each.age_seconds))]),
    ...state.voice_checks.filter((each) => each.silent).map((each) => ["#checks", texts.silent_voices(each.silent, placeOf(each))]),
    ...state.slots.filter(isFull).map((each) => ["#slots", texts.full(placeOf(each))]),
  ].filter(Boolean);
  if (!found.length) return el("section", { class: "card verdict valid", "aria-label": texts.attention }, el("h2", { tabindex: "-1" }, texts.all_well));
  return el("section", { class: "card verdict edited", "aria-labelledby": "attention" },
    el("h2", { id: "attention", tabindex: "-1" }, texts.attention),
    el("ul", { class: "attention plain" }, found.map(([target, sentence]) => el("li", {}, el("a", { href: target, "data-focus": `attention-${sentence}` }, sentence)))));
}

const sumOf = (rows, name) => rows.reduce((all, each) => all + each[name], 0);

export function tiles({ unfinished, job_slots: jobs, consumers, mirror, takedowns, erasures }) {
  const tile = (name, value, more) => el("div", { class: "tile" }, el("dt", {}, name), el("dd", {}, value, more ? el("span", { class: "hint" }, ` ${more}`) : null));
  return el("dl", { class: "tiles" },
    Object.entries(unfinished).sort().map(([status, { attempts, for_employees: employees }]) => tile(texts.tile[status], count(attempts), employees ? texts.for_employees(employees) : "")),
    tile(texts.tile.job_slots, texts.of(jobs.taken, jobs.all), jobs.waiting ? texts.waiting_jobs(jobs.waiting) : ""),
    tile(texts.tile.consumers, count(consumers.alive)),
    tile(texts.tile.mirror, count(mirror.behind), mirror.behind ? texts.for_up_to(duration(mirror.oldest_seconds)) : ""),
    tile(texts.tile.takedowns, count(takedowns.open), takedowns.open ? texts.frozen(takedowns.attempts) : ""),
    tile(texts.tile.erasures, count(erasures.open), erasures.open ? texts.for_up_to(duration(erasures.oldest_seconds)) : ""));
}

function meter(part, all, label) {
  return el("meter", { min: "0", max: String(all || 1), value: String(Math.min(part, all || 1)), "aria-label": label });
}

export function queues({ queues: rows, consumers }) {
  const unread = new Set(consumers.unread_queues ?? []);
  const longest = Math.max(...rows.map((each) => each.queue_length));
  return card(texts.queues_title, table(texts.queues_title,
    [texts.queue, texts.waiting, texts.oldest, texts.deferred, texts.dead],
    rows.map((each) => [
      el("code", { class: unread.has(each.queue) ? "unread" : "" }, each.queue),
      el("span", { class: "metered" }, count(each.queue_length), longest ? meter(each.queue_length, longest, texts.waiting) : null),
      each.queue_length ? duration(each.oldest_message_seconds ?? 0) : "",
      each.deferred_length ? count(each.deferred_length) : "",
      each.dead_length ? el("strong", { class: "bad" }, count(each.dead_length)) : "",
    ]), "wide"));
}

export function stuck({ stuck: rows }, commands) {
  return card(texts.stuck_title, rows.length ? table(texts.stuck_title,
    [texts.attempt, texts.provider, texts.state, texts.since, texts.why, unseen(texts.show)],
    rows.map((each) => [short(each.id), placeOf(each), stateOf(each), moment(each.updated_at), el("span", { class: "sentence" }, each.explanation),
      act(texts.show, texts.show_named(each.id), `show-${each.id}`, () => commands.show(each.id))]), "cards") : el("p", { class: "empty" }, texts.none_stuck));
}

export function failed({ failed: rows }, commands) {
  return card(texts.failed_title, rows.length ? table(texts.failed_title,
    [texts.attempt, texts.provider, texts.when, texts.error, texts.state, unseen(texts.show), ...(commands.mayAct ? [unseen(texts.retry)] : [])],
    rows.map((each) => [short(each.id), placeOf(each), moment(each.failed_at), el("code", {}, each.error_code ?? ""), stateOf(each),
      act(texts.show, texts.show_named(each.id), `look-${each.id}`, () => commands.show(each.id)),
      ...(commands.mayAct ? [act(texts.retry, texts.retry_named(each.id), `retry-${each.id}`, () => commands.retry(each.id))] : [])]), "cards") : el("p", { class: "empty" }, texts.none_failed));
}

export function letters({ dead_letters: rows }, commands, chosen) {
  for (const id of chosen) if (!rows.some((each) => each.id === id)) chosen.delete(id);
  const send = button("", () => commands.redrive([...chosen]), "danger");
  send.dataset.focus = "redrive";
  const every = el("input", { type: "checkbox", id: "every-letter", "data-focus": "every" });
  const boxes = rows.map(({ id }) => el("input", { type: "checkbox", "aria-label": texts.choose_named(id), "data-focus": `letter-${id}`, checked: chosen.has(id) || undefined }));
  const show = () => {
    send.textContent = chosen.size ? texts.redrive(chosen.size) : texts.redrive_none;
    send.disabled = !chosen.size;
    every.checked = chosen.size > 0 && chosen.size === rows.length;
  };
  boxes.forEach((box, at) => box.addEventListener("change", () => { chosen[box.checked ? "add" : "delete"](rows[at].id); show(); }));
  every.addEventListener("change", () => {
    boxes.forEach((box, at) => { box.checked = every.checked; chosen[every.checked ? "add" : "delete"](rows[at].id); });
    show();
  });
  show();
  return card(texts.letters_title, ...(rows.length ? [
    commands.mayAct ? el("div", { class: "row" }, el("div", { class: "check" }, every, el("label", { for: "every-letter" }, texts.choose_all)), send) : "",
    table(texts.letters_title, [texts.letter, texts.queue, texts.when, texts.subject, texts.reason],
      rows.map((each, at) => [el("span", { class: "check" }, commands.mayAct ? boxes[at] : null, String(each.id)), el("code", {}, each.queue), moment(each.dead_at),
        each.subject ? short(each.subject) : "", el("span", { class: "sentence" }, each.reason)]), "cards"),
    rows.length === 100 ? el("p", { class: "hint" }, texts.more_letters) : "",
  ] : [el("p", { class: "empty" }, texts.none_dead)]));
}

export function slots({ slots: rows }) {
  return card(texts.slots_title, rows.length ? table(texts.slots_title,
    [texts.provider, texts.region, texts.slots, texts.orphans, texts.deleted],
    rows.map((each) => [each.provider, each.region,
      each.slots === null ? texts.unlimited(each.taken)
        : el("span", { class: `metered ${isFull(each) ? "bad" : ""}` }, texts.of(each.taken, each.slots), meter(each.taken, each.slots, texts.taken)),
      each.orphans ? count(each.orphans) : "", each.deleted ? count(each.deleted) : ""]), "wide") : el("p", { class: "empty" }, texts.no_places));
}

// Is each voice still at its provider, and are the consents as they were written?
export function checks({ voice_checks: rows, consents }) {
  const stateOfCheck = (each) => (each.error_code ? el("code", { class: "bad" }, each.error_code) : each.is_late ? el("span", { class: "bad" }, texts.late) : each.voices ? texts.answered : texts.not_yet);
  return card(texts.checks_title,
    rows.length ? table(texts.checks_title, [texts.provider, texts.account, texts.voices, texts.unchecked_for, texts.last_answer],
      rows.map((each) => [placeOf(each), el("code", {}, each.account), count(each.voices), duration(each.age_seconds), stateOfCheck(each)]), "cards")
      : el("p", { class: "empty" }, texts.no_checks),
    el("p", {}, consents.broken ? el("strong", { class: "bad" }, texts.broken_consents(consents.broken)) : texts.sound_consents,
      ` ${consents.waiting_seconds === null ? texts.no_anchors : texts.anchors(consents.anchors, consents.unpublished)}`));
}

// All that is known of one attempt.
export function attemptView(found, commands) {
  const { attempt, enrollments, events, explanation } = found;
  const changes = (each) => Object.entries(each.changes).map(([name, value]) => `${name}: ${value === true ? texts.yes : typeof value === "string" ? value : JSON.stringify(value)}`).join(", ");
  return [
    el("p", { class: "sentence" }, el("strong", {}, explanation)),
    el("dl", {}, [[texts.attempt, attempt.id], [texts.provider, placeOf(attempt)], [texts.state, stateOf(attempt)], [texts.error, attempt.error_code], [texts.reason, attempt.error_message], [texts.request_id, attempt.request_id]]
      .filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    commands.mayAct && (attempt.status === "failed" || [attempt.runtime_status, attempt.preview_status].includes("failed")) && attempt.is_active
      ? el("div", { class: "actions" }, act(texts.retry, texts.retry_named(attempt.id), "retry-found", () => commands.retry(attempt.id))) : null,
    enrollments.length ? [el("h3", {}, texts.enrollments), table(texts.enrollments, [texts.label, texts.status, texts.provider, texts.request_id, texts.error],
      enrollments.map((each) => [el("code", {}, each.label), each.status, placeOf(each), each.request_id ?? "", each.error_code ?? ""]))] : null,
    el("h3", {}, texts.timeline),
    table(texts.timeline, [texts.when, texts.state, texts.changes],
      events.map((each) => [moment(each.recorded_at), each.events.join(", "), el("span", { class: "sentence" }, changes(each))]), "cards"),
    el("p", { class: "hint" }, texts.later_times),
  ].flat().filter(Boolean);
}
