// Where else the voice is, or could be: the same sample at other providers. A voice that works keeps working meanwhile.
import { announce, ask, button, card, el } from "./dom.js";
import { problemBox } from "./problems.js";
import { call, data, follow } from "./service.js";
import { providerName, texts } from "./texts.en.js";
import { timeline } from "./timeline.js";

const AT_WORK = ["queued", "processing", "verifying"];

// Every voice that goes with a reflection: those of its attempts, and those that were moved beside it.
export async function voicesOf(reflection, signal) {
  const columns = "select=voice_id,sample_id";
  const own = await data(`voice_clone_attempts?${columns}&reflection_id=eq.${reflection}`, { signal });
  const samples = [...new Set(own.map((each) => each.sample_id).filter(Boolean))];
  const beside = samples.length ? await data(`voice_clone_attempts?${columns}&reflection_id=is.null&moved_from=not.is.null`
    + `&sample_id=in.(${samples.join(",")})`, { signal }) : [];
  const ids = [...new Set([...own, ...beside].map((each) => each.voice_id))].join(",");
  return ids ? data(`voices?select=voice_id:id,name,language,tts_provider,provider_voice_id&id=in.(${ids})`
    + "&order=created_at.desc", { signal }) : [];
}

export async function deleteVoice(id) {
  await call(`/api/voices/${id}`, { method: "DELETE" }).catch((error) => { if (error.status !== 404) throw error; });
}

// By provider: the voices of this sample there, and its latest attempt. What speaks now is left out.
async function read(reflection, sample, voiceId, signal) {
  const columns = "select=id,provider,status,error_code,error_message&source=neq.custom_voice&moved_from=not.is.null";
  const [mine, attempts, report] = await Promise.all([
    voicesOf(reflection, signal),
    data(`voice_clone_attempts?${columns}&sample_id=eq.${sample}&order=created_at.desc`, { signal }),
    call(`/api/v1/voice-samples/${sample}/report`, { signal }),
  ]);
  const present = mine.find((each) => each.voice_id === voiceId);
  const listed = await data(`voice_clone_attempts?select=voice_id&sample_id=eq.${sample}`, { signal });
  const ofSample = new Set(listed.map((each) => each.voice_id));
  const found = new Map();
  const at = (provider) => found.get(provider) ?? found.set(provider, { provider, voices: [] }).get(provider);
  for (const voice of mine) {
    if (ofSample.has(voice.voice_id) && voice.tts_provider !== present?.tts_provider) at(voice.tts_provider).voices.push(voice);
  }
  for (const { provider, fits } of report.providers) if (fits && provider !== present?.tts_provider) at(provider).fits = true;
  for (const attempt of attempts) if (found.has(attempt.provider)) found.get(attempt.provider).attempt ??= attempt;
  return [...found.values()].sort((one, other) => one.provider.localeCompare(other.provider));
}

// `watch` follows an attempt that the voice itself has now.
export function providersCard(voice, { sample_id: sample, provider: present }, voiceId, watch, signal) {
  const place = el("ul", { class: "providers plain" });
  const trouble = el("div");
  const choices = el("div", { class: "actions" });
  const section = card(texts.providers_title, el("p", {}, texts.providers_text(providerName(present))), place, trouble, choices);
  section.hidden = true;
  let following = new AbortController();

  async function load() {
    try {
      const found = await read(voice.id, sample, voiceId(), signal);
      following.abort();
      following = new AbortController();
      signal.addEventListener("abort", () => following.abort(), { once: true });
      const isStarted = ({ voices, attempt }) => voices.length || AT_WORK.includes(attempt?.status) || attempt?.status === "failed";
      place.replaceChildren(...found.filter(isStarted).map(row));
      trouble.replaceChildren();
      choices.replaceChildren(...found.filter((each) => !isStarted(each)).map(({ provider }) =>
        button(texts.move_to(providerName(provider)), () => choose(provider), "quiet small")));
      choices.hidden = found.some(({ attempt }) => AT_WORK.includes(attempt?.status)); // one move at a time
      section.hidden = !found.length;
    } catch (error) {
      if (signal.aborted) return;
      if (error.code === "session_ended") throw error;
      section.hidden = false;
      trouble.replaceChildren(problemBox(error, { again: load }));
    }
  }

  const attempted = (place, work, done) => async () => {
    try {
      await work();
      place.replaceChildren();
      if (done) announce(done);
      if (!document.activeElement?.isConnected || document.activeElement === document.body) section.querySelector("h2").focus();
    } catch (error) {
      if (error.code === "session_ended") throw error;
      place.replaceChildren(problemBox(error, { again: attempted(place, work, done) }));
    }
  };
  const move = (place, provider) => attempted(place, async () => {
    const made = await call(`/api/voices/${voiceId()}/move`, { method: "POST", body: { provider } });
    if (made.reflection_id === voice.id) watch(made.attempt_id);
    else await load();
  });
  async function choose(provider) {
    const question = texts.move_question(providerName(provider));
    if (await ask(question, texts.move, texts.keep_here, [texts.move_text], "")) await move(trouble, provider)();
  }

  function row({ provider, voices, attempt, fits }) {
    const name = providerName(provider);
    const fault = el("div");
    if (AT_WORK.includes(attempt?.status)) return el("li", {}, el("h3", {}, texts.moving_to(name)), progress(attempt.id));
    if (voices.length) {
      const [latest] = voices;
      const use = attempted(fault, async () => {
        const body = { provider, provider_voice_id: latest.provider_voice_id, name: latest.name, language: latest.language };
        watch((await call(`/v1/reflections/${voice.id}/voice`, { method: "PATCH", body })).attempt_id);
      });
      const remove = async () => {
        if (await ask(texts.remove_question(name), texts.remove_there, texts.keep, [texts.remove_text])) await removeAll();
      };
      const removeAll = attempted(fault, async () => {
        for (const each of voices) await deleteVoice(each.voice_id);
        await load();
      }, texts.deleted);
      const sound = el("div");
      const hear = button(texts.hear_there, attempted(fault, () => listen(latest, hear, sound, signal)), "quiet small");
      return el("li", {}, el("h3", {}, texts.also_at(name)), el("p", { class: "hint" }, texts.use_text), sound, fault,
        el("div", { class: "actions" }, hear, button(texts.use_there, use, "quiet small"),
          button(texts.remove_there, remove, "quiet danger small")));
    }
    const error = { code: attempt.error_code ?? "unknown", detail: attempt.error_message ?? "" };
    fault.replaceChildren(problemBox(error, fits ? { again: move(fault, provider) } : {}));
    return el("li", {}, el("h3", {}, texts.move_failed(name)), fault);
  }

  function progress(attempt) {
    const steps = timeline(["check", "clone", "verify"]);
    const { signal: mine } = following;
    follow(attempt, (event) => {
      steps.add(event);
      if (mine.aborted || AT_WORK.includes(steps.attempt.status)) return;
      if (steps.attempt.status === "ready") announce(texts.moved);
      load();
    }, mine).catch(() => { if (!mine.aborted) load(); });
    return steps.list;
  }

  load();
  return section;
}

async function listen(voice, hear, place, signal) {
  hear.disabled = true;
  try {
    const audio = await call("/api/generate", { method: "POST", body: { voice_id: voice.voice_id, text: texts.move_sentence }, signal });
    const address = URL.createObjectURL(audio);
    signal.addEventListener("abort", () => URL.revokeObjectURL(address), { once: true });
    const player = el("audio", { controls: true, src: address, "aria-label": texts.speech_of(texts.move_sentence) });
    place.replaceChildren(player);
    player.play().catch(() => {});
  } finally {
    hear.disabled = false;
  }
}
