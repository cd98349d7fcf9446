// Anybody drops an audio file and reads what its mark says: whether it is synthetic, and who answers for it. No account.
import { announce, dropZone, el, showView } from "./dom.js";
import { problemBox } from "./problems.js";
import { dateText, providerName, sourceTypeText, texts, verdictTexts } from "./texts.en.js";

const MOST_BYTES = 16 * 1024 * 1024; // what the service takes

const place = el("div", { class: "stack" });

async function verify(file) {
  place.replaceChildren(el("div", { class: "card" }, el("p", {}, texts.verifying(file.name)), el("progress", { "aria-label": texts.verifying(file.name) })));
  try {
    show(file, await ask(file));
  } catch (error) {
    place.replaceChildren(problemBox(error, { again: () => verify(file) }));
  }
}

async function ask(file) {
  if (file.size > MOST_BYTES) throw { code: "body_too_large" };
  let answer;
  try {
    answer = await fetch("/v1/verify", { method: "POST", body: file, headers: { "content-type": "application/octet-stream" } });
  } catch {
    throw { code: "network" };
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw { ...content, code: content.code ?? "unknown", requestId: content.request_id };
  return content;
}

function show(file, found) {
  const [verdict, explanation] = verdictTexts[found.verdict] ?? [found.verdict, found.explanation];
  const signer = found.signed_by && [...new Set([found.signed_by.name, found.signed_by.organization])].filter(Boolean).join(", ");
  const agent = [found.provider && providerName(found.provider), found.model].filter(Boolean).join(", ");
  const day = (time) => (time && !Number.isNaN(Date.parse(time)) ? dateText(time) : time);
  const facts = [
    [texts.mark_kind, found.source_type && sourceTypeText(found.source_type)],
    [texts.mark_signer, signer], [texts.mark_generator, found.generator], [texts.mark_agent, agent], [texts.mark_when, day(found.made_at)],
    [texts.mark_stamped, day(found.stamped_at)],
  ].filter(([, value]) => value);
  place.replaceChildren(el("section", { class: `card verdict ${found.verdict}`, "aria-label": texts.verify_result, "data-verdict": found.verdict },
    el("h2", { tabindex: "-1" }, verdict), el("p", {}, explanation),
    found.signed_by && !found.signed_by.is_trusted ? el("p", { class: "note" }, texts.mark_untrusted) : null,
    facts.length ? el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]).flat()) : null,
    el("p", { class: "hint" }, file.name)));
  announce(verdict);
  place.querySelector("h2").focus();
}

showView(el("div", { class: "stack" },
  el("h1", { tabindex: "-1" }, texts.verify_title), el("p", { class: "lead" }, texts.verify_lead),
  dropZone(verify, texts.verify_drop, texts.verify_formats), el("p", { class: "hint" }, texts.verify_kept), place));
