// One voice: the timeline of its attempt as it happens, the preview, the gate, and speech.
import { announce, button, card, el } from "./dom.js";
import { measures } from "./measures.js";
import { problemBox } from "./problems.js";
import { providersCard } from "./providers.js";
import { call, follow } from "./service.js";
import { speakCard, speechHistory } from "./speak.js";
import { blockerText, providerName, texts } from "./texts.en.js";
import { timeline } from "./timeline.js";
import { manageVoice } from "./voices.js";

// `voice` has the reflection's id and name; after a new upload also its attempt, the running finalize, and the sample.
export async function voiceView(voice, pages, open, signal) {
  const path = `/v1/reflections/${voice.id}`;
  let attempts = voice.attempt ? [] : await call(`${path}/voice-clone-attempts`, { signal });
  let read = await call(`${path}/voice`, { signal });
  const steps = timeline();
  const problems = el("div", { class: "problems" });
  const details = el("div");
  const preview = el("div");
  const gate = el("div");
  const speaking = el("div");
  const history = speechHistory(voice, signal);
  const elsewhere = el("div");
  const managing = el("div");
  const title = el("h1", { tabindex: "-1" });
  // From the attempt: the mirror in `read.voice` follows a moment later.
  const voiceId = () => (steps.attempt.is_active && steps.attempt.voice_id) || read.voice.voiceId;
  const speaker = () => ({ voiceId: voiceId(), sample: steps.attempt.sample_id, provider: steps.attempt.provider });
  const state = () => ({
    voiceId: voiceId(),
    sample: steps.attempt.is_active && steps.attempt.sample_id,
    canRestore: steps.attempt.status === "failed" && attempts.some((each) => each.cancel_reason === "superseded"),
  });
  let following = new AbortController();
  const reading = new AbortController();
  signal.addEventListener("abort", () => reading.abort(), { once: true });
  const stop = () => { following.abort(); reading.abort(); }; // before the reflection goes: what is read of it would not be found
  let shown = {};

  const record = () => open(pages.create(voice));
  const retry = async (body = {}) => {
    try {
      const { attempt_id: attempt } = await call(`${path}/voice/retry`, { method: "POST", body });
      problems.replaceChildren();
      watch(attempt);
    } catch (error) {
      problems.replaceChildren(problemBox(error, { record }));
    }
  };

  async function reload() {
    read = await call(`${path}/voice`, { signal: reading.signal });
    if (steps.failed) attempts = await call(`${path}/voice-clone-attempts`, { signal: reading.signal }); // for the voice before
    show();
  }

  function show() {
    title.textContent = voice.name ?? texts.my_voice;
    gate.replaceChildren(gateLine(read.gate));
    const needed = { preview: read.gate.blockers.includes("preview_rendered") && read.preview_url, speech: read.gate.launchable && voiceId() };
    if (Boolean(needed.preview) !== Boolean(shown.preview)) {
      preview.replaceChildren(...(needed.preview ? [previewCard(path, () => read.preview_url, reload)] : []));
    }
    if (needed.speech !== shown.speech) {
      speaking.replaceChildren(...(needed.speech ? [speakCard(speaker, history, signal)] : []));
    }
    const { sample_id: sample, provider, status } = steps.attempt;
    needed.sample = ["cancelled", "expired"].includes(status) ? null : status === "awaiting_upload" ? shown.sample : sample ?? shown.sample;
    if (needed.sample !== shown.sample) {
      details.replaceChildren(...(needed.sample ? [measures(sample, provider, signal)] : []));
    }
    needed.movable = read.gate.launchable && status === "ready" && sample ? `${sample} ${steps.attempt.provider}` : null;
    if (needed.sample !== shown.sample) needed.sample ? history.load() : history.clear();
    if (needed.movable !== shown.movable) {
      elsewhere.replaceChildren(...(needed.movable ? [providersCard(voice, { ...steps.attempt }, voiceId, watch, signal)] : []));
    }
    needed.managed = `${voice.name} ${state().canRestore} ${state().sample}`; // not made again meanwhile: somebody may be typing in it
    if (needed.managed !== shown.managed) {
      managing.replaceChildren(card(texts.manage, manageVoice(voice, state, pages, open, reload, stop)));
    }
    shown = needed;
    if (steps.failed) {
      const others = read.alternatives ?? [];
      problems.replaceChildren(problemBox(steps.failed, { again: () => retry(), record }),
        others.length ? el("p", { class: "hint" }, texts.same_sample_elsewhere) : "",
        el("div", { class: "actions" }, others.map((provider) =>
          button(providerName(provider), () => retry({ provider }), "quiet small"))));
    }
  }

  async function watch(attempt) {
    following.abort();
    following = new AbortController();
    signal.addEventListener("abort", () => following.abort(), { once: true });
    const mine = following.signal;
    steps.start();
    try {
      await follow(attempt, (event) => { steps.add(event); reload().catch(() => {}); }, mine);
    } catch (error) {
      if (!mine.aborted) problems.replaceChildren(problemBox(error, { again: () => watch(attempt) }));
    }
  }

  voice.finalizing?.catch((error) => {
    if (signal.aborted || steps.attempt.status === "failed") return; // the timeline has told it
    steps.refuse(error);
    problems.replaceChildren(problemBox(error, { record, again: error.status >= 500 ? () => watch(voice.attempt) : undefined }));
  });
  const latest = voice.attempt ?? (attempts.find((each) => each.is_active) ?? attempts[0])?.attempt_id;
  delete voice.attempt; // a later view reads what is stored
  show();
  if (latest) watch(latest);
  else gate.append(el("div", { class: "actions" }, button(texts.another_sample, record)));
  return el("div", { class: "stack" },
    el("div", { class: "row" }, title, button(texts.all_voices, () => open(pages.voices), "quiet small")),
    gate, preview, speaking, history.section, latest ? card(texts.progress_title, steps.list, problems, details) : problems, elsewhere, managing);
}

function gateLine({ launchable, blockers }) {
  const text = launchable ? texts.launchable : [texts.not_launchable, ...blockers.map(blockerText)].join(" ");
  return el("p", { class: launchable ? "gate ok" : "gate" }, text);
}

function previewCard(path, address, reload) {
  const place = el("div");
  const heard = button(texts.heard, async () => {
    heard.disabled = true;
    try {
      await call(`${path}/voice/preview/complete`, { method: "POST" });
      announce(texts.heard_done);
      await reload();
      document.querySelector("textarea")?.focus();
    } catch (error) {
      heard.disabled = false;
      if (error.code === "session_ended") throw error;
      place.replaceChildren(problemBox(error, { again: () => heard.click() }));
    }
  });
  heard.disabled = true;
  const player = el("audio", { controls: true, src: address(), "aria-label": texts.preview_title });
  player.addEventListener("ended", () => { heard.disabled = false; hint.textContent = texts.heard_hint; });
  player.addEventListener("error", () => reload().then(() => { player.src = address(); }), { once: true }); // the address expired
  const hint = el("p", { class: "hint", role: "status" }, texts.listen_first);
  return card(texts.preview_title, el("p", {}, texts.preview_text), player, hint, place, el("div", { class: "actions" }, heard));
}
