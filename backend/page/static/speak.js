// Text to speech: what is typed becomes a speech job, and the jobs of a voice are listed while they are kept.
import { announce, button, card, el, field, seconds } from "./dom.js";
import { problemBox } from "./problems.js";
import { call, data, file } from "./service.js";
import { dateText, problems, texts } from "./texts.en.js";

const LONGEST = 2000;
const SHOWN = 20;
const COLUMNS = "select=id,text,status,error_code,error_message,path,created_at,expires_at";

// `about` tells the voice, the sample and the provider that speak now. A voice without a sample is spoken with at once, and
// its speech is kept by this page alone.
export function speakCard(about, history, signal) {
  const text = el("textarea", { rows: "3", maxlength: String(LONGEST), placeholder: texts.say_example });
  const send = el("button", {}, texts.speak);
  const status = el("div");
  const form = el("form", {}, field(texts.say, text), el("div", { class: "actions" }, send), status);

  async function speak() {
    const said = text.value.trim();
    if (!said) {
      text.focus();
      return;
    }
    send.disabled = true;
    status.replaceChildren();
    try {
      const { voiceId, sample, provider } = about();
      if (sample) {
        const body = { sampleId: sample, text: said, provider };
        const { jobId } = await call("/api/v1/clone", { method: "POST", body, signal });
        history.add({ id: jobId, text: said, status: "queued" });
      } else {
        history.add({ text: said, status: "queued", body: { voice_id: voiceId, text: said } });
      }
    } catch (error) {
      if (error.code === "session_ended") throw error;
      status.replaceChildren(problemBox(error, { again: speak }));
    } finally {
      send.disabled = false;
    }
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); speak(); });
  return card(texts.speak_title, form);
}

// The speeches of a reflection's samples, the newest first, each as it comes.
export function speechHistory(voice, signal) {
  const list = el("ol", { class: "history plain" });
  const section = card(texts.history, list);
  const show = () => { section.hidden = !list.hasChildNodes(); };
  const known = new Set(); // what was requested while the list was read is not listed twice
  const add = (job) => {
    known.add(job.id);
    list.prepend(speechItem(job, voice, show, signal, true));
    show();
  };
  async function load() {
    const attempts = await data(`voice_clone_attempts?select=sample_id&reflection_id=eq.${voice.id}`, { signal });
    const samples = [...new Set(attempts.map((each) => each.sample_id).filter(Boolean))].join(",");
    const jobs = samples ? await data(`speech_jobs?${COLUMNS}&sample_id=in.(${samples})&removed_at=is.null`
      + `&order=created_at.desc&limit=${SHOWN}`, { signal }) : [];
    list.append(...jobs.filter(({ id }) => !known.has(id)).map((job) => speechItem(job, voice, show, signal)));
    jobs.forEach(({ id }) => known.add(id));
    show();
  }
  const clear = () => { list.replaceChildren(); show(); };
  show();
  return { section, add, clear, load: () => load().catch(() => {}) }; // without a list there is still the voice
}

// `fresh` is what was requested on this page: it is played when it is ready.
function speechItem(job, voice, changed, signal, fresh = false) {
  const place = el("div", { class: "stack" });
  const item = el("li", {}, el("p", {}, job.text), place);
  const ending = new AbortController();
  signal.addEventListener("abort", () => ending.abort(), { once: true });
  const mine = ending.signal;
  const fail = (error, again) => {
    if (mine.aborted) return;
    if (error.code === "session_ended") throw error;
    place.replaceChildren(problemBox(error, { again }), el("div", { class: "actions" }, remover(texts.remove)));
  };
  const remove = async () => {
    ending.abort();
    try {
      if (job.id) await call(`/api/v1/clone/${job.id}`, { method: "DELETE" }).catch((error) => { if (error.status !== 404) throw error; });
      const title = item.closest("section").querySelector("h2");
      item.remove();
      changed();
      (title.offsetParent ? title : document.querySelector("h1")).focus(); // the button that had the focus is gone
    } catch (error) {
      if (error.code === "session_ended") throw error;
      place.replaceChildren(problemBox(error, { again: remove }));
    }
  };
  const remover = (text) => button(text, remove, "quiet small");

  async function wait() {
    const clock = el("span", { class: "hint time" });
    const why = el("p", { class: "hint", role: "status" });
    const started = performance.now();
    const ticking = setInterval(() => { clock.textContent = seconds((performance.now() - started) / 1000); }, 200);
    place.replaceChildren(
      el("div", { class: "row" }, el("progress", { "aria-label": texts.speaking }), clock, remover(texts.cancel)), why);
    try {
      if (job.body) {
        show(await call("/api/generate", { method: "POST", body: job.body, signal: mine }));
        return;
      }
      for (let pause = 250; ["queued", "processing"].includes(job.status); pause = Math.min(pause * 1.3, 3000)) {
        await new Promise((resolve) => { setTimeout(resolve, pause); });
        if (mine.aborted) return;
        const [found] = await data(`speech_jobs?${COLUMNS}&id=eq.${job.id}`, { signal: mine });
        if (!found) return item.remove(); // deleted meanwhile
        Object.assign(job, found);
        why.textContent = job.error_code ? (problems[job.error_code] ?? problems.unknown)[0] : "";
      }
      await settle();
    } catch (error) {
      fail(error, wait);
    } finally {
      clearInterval(ticking);
    }
  }

  async function retry() {
    try {
      await call(`/api/v1/clone/${job.id}/retry`, { method: "POST" });
      Object.assign(job, { status: "queued", error_code: null });
      await wait();
    } catch (error) {
      fail(error, retry);
    }
  }

  async function settle() {
    if (job.status === "failed") fail({ code: job.error_code, detail: job.error_message }, retry);
    else if (fresh) await play();
    else place.replaceChildren(foot(button(texts.play, play, "quiet small")));
  }

  async function play() {
    try {
      show(await file(`speeches/${job.path}`, { signal: mine }));
      if (!fresh) place.querySelector("audio").focus();
    } catch (error) {
      fail(error, play);
    }
  }

  function show(audio) {
    const address = URL.createObjectURL(audio);
    mine.addEventListener("abort", () => URL.revokeObjectURL(address), { once: true });
    const player = el("audio", { controls: true, src: address, "aria-label": texts.speech_of(job.text.slice(0, 60)) });
    const download = `${voice.name ?? "speech"}.wav`;
    place.replaceChildren(player, foot(el("a", { class: "button quiet small", href: address, download }, texts.download)));
    player.play().catch(() => {}); // a browser may want a click first
    announce(texts.spoken);
  }

  const foot = (choice) => el("div", { class: "row" }, el("div", { class: "actions" }, choice, remover(texts.remove)),
    job.expires_at ? el("p", { class: "hint" }, texts.kept_until(dateText(job.created_at), dateText(job.expires_at))) : null);
  if (["queued", "processing"].includes(job.status)) wait();
  else settle();
  return item;
}
