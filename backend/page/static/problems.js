// A problem in words: what happened, what the service says about it, and what the user can do now.
import { button, el } from "./dom.js";
import { actions, problems, texts } from "./texts.en.js";

// `handlers` by action: {again, record, voices, …}. An action without one is only a sentence.
export function problemBox(error, handlers = {}) {
  const [sentence, action] = problems[error.code] ?? problems.unknown;
  const choices = [...new Set([action, "again", "record"])].filter((each) => handlers[each]);
  const buttons = choices.slice(0, 2).map((each) => button(actions[each].button, handlers[each], "quiet"));
  return el("div", { class: "problem", role: "alert", "data-code": error.code },
    el("p", {}, el("strong", {}, sentence)),
    handlers[action] ? null : el("p", {}, actions[action].sentence),
    error.detail && error.detail !== sentence ? el("p", { class: "hint" }, error.detail) : null,
    error.requestId ? el("p", { class: "hint" }, `${texts.request_id} ${error.requestId}`) : null,
    buttons.length ? el("div", { class: "actions" }, buttons) : null);
}
