// A new voice: the consent, the sample, then sending. Nothing is sent before the consent is signed.
import { announce, button, card, el, field } from "./dom.js";
import { problemBox } from "./problems.js";
import { sampleInput } from "./recorder.js";
import { Problem, call, data, newId, upload } from "./service.js";
import { languageName, languages, texts } from "./texts.en.js";

const here = navigator.language.slice(0, 2);

// `given` is null, or the voice that gets another sample. `made` is called with what was begun; `back` may be null.
export async function newVoiceView(given, made, back, signal) {
  const every = (await call("/v1/consent-statements", { signal })).filter((each) => each.statement === "voice_clone");
  const statements = every.filter(({ spoken }) => spoken !== "unavailable");
  if (every.length && !statements.length) throw new Problem({ code: "spoken_consent_unavailable" });
  const state = { sample: null, reflection: given?.id, name: given?.name, consent: null, opened: null, challenge: null, spoken: null };
  const agreed = el("input", { type: "checkbox", id: "agreed", onchange: () => ready() });
  const name = el("input", { maxlength: "120", required: true, value: given?.name ?? texts.my_voice });
  const language = el("select", {}, languages.map((each) =>
    el("option", { value: each, selected: each === here }, languageName(each))));
  const send = button(texts.create, () => begin(), "");
  const status = el("div", { class: "sending" });
  const sample = sampleInput((file) => { state.sample = file; ready(); }, signal);
  const ready = () => {
    const missing = !agreed.checked ? texts.consent_missing : !state.sample ? texts.sample_missing
      : mustSpeak() && !state.spoken ? texts.spoken_missing : "";
    send.disabled = Boolean(missing);
    hint.textContent = missing;
  };
  const mustSpeak = () => statementChosen()?.spoken === "required";
  const hint = el("p", { class: "hint", id: "create-hint" });
  send.setAttribute("aria-describedby", "create-hint");

  async function begin() {
    const form = [agreed, name, language, send, ...sample.querySelectorAll("button, input"), ...speaking.querySelectorAll("button")];
    form.forEach((each) => { each.disabled = true; });
    const cancelling = new AbortController();
    signal.addEventListener("abort", () => cancelling.abort(), { once: true });
    const bar = el("progress", { max: 1, value: 0, "aria-label": texts.uploading });
    status.replaceChildren(el("p", {}, texts.uploading), bar, button(texts.cancel, () => cancelling.abort(), "quiet small"));
    try {
      const details = { name: name.value.trim() || texts.my_voice, language: language.value };
      made(await sendSample(state, statementChosen(), details, (part) => { bar.value = part; }, cancelling.signal));
    } catch (error) {
      form.forEach((each) => { each.disabled = false; });
      if (cancelling.signal.aborted) {
        status.replaceChildren();
        announce(texts.cancelled);
      } else if (error.code === "session_ended") {
        throw error;
      } else {
        const isAnother = mustSpeak() && (!state.consent || error.code === "spoken_sample_differs");
        const again = isAnother ? () => { status.replaceChildren(); readSentence(); } : begin;
        status.replaceChildren(problemBox(error, { again, voices: back }));
      }
    }
  }

  // Each sentence is for one try.
  async function readSentence() {
    Object.assign(state, { challenge: null, spoken: null, consent: null });
    ready();
    if (!mustSpeak()) { speaking.replaceChildren(); return; }
    try {
      const { locale, version } = statementChosen();
      state.challenge = await call("/v1/consent-challenges", { method: "POST", signal, body: { locale, version } });
      speaking.replaceChildren(el("p", {}, texts.spoken_text),
        sampleInput((file) => { state.spoken = file; ready(); }, signal, state.challenge.sentence));
    } catch (error) {
      if (signal.aborted) return;
      if (error.code === "session_ended") throw error;
      speaking.replaceChildren(problemBox(error, { again: readSentence }));
    }
  }

  const speaking = el("div");
  const { box, statementChosen } = consentBox(statements, agreed);
  if (mustSpeak()) await readSentence();
  ready();
  return el("div", { class: "stack" },
    el("h1", { tabindex: "-1" }, given ? texts.new_sample_title(given.name) : texts.new_voice_title),
    el("ol", { class: "stack plain" },
      el("li", {}, card(texts.consent_title, box)),
      el("li", {}, card(texts.sample_title, sample)),
      mustSpeak() && el("li", {}, card(texts.spoken_title, speaking)),
      el("li", {}, card(texts.name_title(mustSpeak() ? 4 : 3),
        el("div", { class: "pair" }, field(texts.voice_name, name), field(texts.language, language)),
        status, hint,
        el("div", { class: "actions" }, send, back && button(texts.back, back, "quiet"))))));
}

function consentBox(statements, agreed) {
  const select = el("select", { onchange: () => show() }, statements.map(({ locale }) =>
    el("option", { value: locale, selected: locale === here }, languageName(locale))));
  if (!select.value && statements.length) select.value = statements[0].locale;
  const text = el("p", { class: "statement" });
  const statementChosen = () => statements.find(({ locale }) => locale === select.value);
  function show() {
    agreed.checked = false; // what was agreed to is the other text
    agreed.dispatchEvent(new Event("change"));
    text.textContent = statementChosen()?.body ?? "";
    text.lang = select.value;
  }
  text.textContent = statementChosen()?.body ?? "";
  text.lang = select.value;
  const box = el("div", { class: "consent" }, field(texts.consent_language, select), text,
    el("div", { class: "check" }, agreed, el("label", { for: "agreed" }, texts.agree)));
  return { box, statementChosen };
}

// Each part that succeeded is kept, so that another try does not repeat it.
async function sendSample(state, statement, details, progress, signal) {
  const { sample } = state;
  if (statement.spoken === "required" && state.consent?.sample !== sample) {
    const body = new FormData();
    body.set("challenge_id", state.challenge.challenge_id);
    body.set("recording", state.spoken);
    body.set("sample", sample);
    state.consent = { ...await call("/v1/consents/spoken", { method: "POST", signal, body }), sample };
    state.opened = null;
  } else if (state.consent?.locale !== statement.locale) {
    state.consent = await call("/v1/consents", {
      method: "POST", signal, body: { statement: statement.statement, locale: statement.locale, version: statement.version },
    });
  }
  if (!state.reflection) {
    state.added ??= newId(); // so that a try whose answer was lost adds no second one
    await data("reflections", { method: "POST", body: { id: state.added, name: details.name } }).catch((error) => {
      if (error.status !== 409) throw error;
    });
    Object.assign(state, { reflection: state.added, name: details.name });
  }
  if (state.opened?.type !== sample.type || state.opened.bytes !== sample.size) {
    const body = {
      consent_id: state.consent.consent_id, reflection_id: state.reflection, content_type: sample.type, bytes: sample.size,
    };
    state.opened = {
      type: sample.type, bytes: sample.size, ...await call("/api/clone/upload-url", { method: "POST", signal, body }),
    };
  }
  await upload(state.opened.upload_url, sample, progress, signal);
  const finalizing = call("/api/clone/finalize", { method: "POST", body: { voice_id: state.opened.voice_id, ...details } });
  finalizing.catch(() => {}); // the voice's view tells it
  return { id: state.reflection, name: state.name ?? details.name, attempt: state.opened.attempt_id, finalizing, sample };
}
