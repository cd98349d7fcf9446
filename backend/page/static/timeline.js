// The timeline of an attempt: which steps are done, which one runs, and how long each took.
import { el, seconds } from "./dom.js";
import { cancelledBy, problems, stepTexts, texts } from "./texts.en.js";

// By event: the step that it ends. What starts again opens its step, and those after it.
const ENDS = {
  queued: "check", enrolled: "clone", verified: "verify", runtime_synced: "runtime",
  preview_rendered: "preview", preview_completed: "heard", restored: "clone",
};
const OPENS = {
  retried: "clone", requeued: "clone", runtime_requeued: "runtime", runtime_retried: "runtime",
  preview_requeued: "preview", preview_requested: "preview",
};
const ORDER = ["check", "clone", "verify", "runtime", "preview", "heard"];

// `shown` are the steps of interest: a voice that is made beside another one is not previewed.
export function timeline(shown = ORDER) {
  const list = el("ol", { class: "timeline plain", "aria-label": texts.progress_title });
  const made = { list, attempt: {}, failed: null };
  let done = new Map(); // step → seconds it took
  let last = null;
  let refused = false;

  function show() {
    const wanted = shown.filter((step) =>
      (step !== "check" || made.attempt.source !== "custom_voice") // whose voice is at its provider already
      && (step !== "verify" || done.has("verify") || made.attempt.status === "verifying")
      && (!["preview", "heard"].includes(step) || made.attempt.preview_status !== "not_required"));
    const running = made.failed || refused ? null : wanted.find((step) => !done.has(step));
    const ended = ["cancelled", "expired"].includes(made.attempt.status);
    list.replaceChildren(...wanted.map((step) => {
      const isFailed = (made.failed || refused) && step === wanted.find((each) => !done.has(each));
      const state = done.has(step) ? "done" : isFailed ? "failed" : step === running && !ended ? "running" : "open";
      const [open, closed] = stepTexts[step];
      return el("li", { class: state, "aria-current": state === "running" ? "step" : undefined },
        el("span", {}, state === "done" ? closed : open, el("span", { class: "unseen" }, ` (${texts.states[state]})`)),
        state === "running" && made.attempt.error_code
          ? el("span", { class: "hint" }, (problems[made.attempt.error_code] ?? problems.unknown)[0]) : null,
        done.get(step) > 0 ? el("span", { class: "hint time" }, seconds(done.get(step))) : null);
    }), ...(ended ? [el("li", { class: "failed" }, cancelledBy[made.attempt.cancel_reason] ?? texts.states[made.attempt.status])] : []));
  }

  made.start = () => { Object.assign(made, { attempt: {}, failed: null }); done = new Map(); last = null; refused = false; show(); };
  made.refuse = () => { refused = true; show(); };
  made.add = ({ events, changes, recorded_at: recorded }) => {
    const { attempt } = made;
    Object.assign(attempt, changes);
    const at = Date.parse(recorded);
    for (const event of events) {
      const opened = OPENS[event];
      if (opened) ORDER.slice(ORDER.indexOf(opened)).forEach((step) => done.delete(step));
      const step = ENDS[event];
      if (step) done.set(step, (at - (last ?? at)) / 1000);
      if (step || opened || last === null) last = at;
    }
    const isFailed = attempt.status === "failed" || [attempt.runtime_status, attempt.preview_status].includes("failed");
    made.failed = isFailed ? { code: attempt.error_code ?? "unknown", detail: attempt.error_message ?? "" } : null;
    show();
  };
  show();
  return made;
}
