// Text to speech: what is typed is spoken with the voice, played, and offered as a file.
import { announce, button, card, el, field, seconds } from "./dom.js";
import { problemBox } from "./problems.js";
import { call } from "./service.js";
import { texts } from "./texts.en.js";

const LONGEST = 2000;

export function speakCard(voice, voiceId, signal) {
  const text = el("textarea", { rows: "3", maxlength: String(LONGEST), placeholder: texts.say_example });
  const send = el("button", {}, texts.speak);
  const status = el("div");
  const history = el("ol", { class: "history plain", "aria-label": texts.history });
  const form = el("form", {}, field(texts.say, text), el("div", { class: "actions" }, send), status);

  async function speak() {
    const said = text.value.trim();
    if (!said) {
      text.focus();
      return;
    }
    const cancelling = new AbortController();
    signal.addEventListener("abort", () => cancelling.abort(), { once: true });
    send.disabled = true;
    const started = performance.now();
    const clock = el("span", { class: "hint" });
    const ticking = setInterval(() => { clock.textContent = seconds((performance.now() - started) / 1000); }, 200);
    status.replaceChildren(el("div", { class: "row" },
      el("progress", { "aria-label": texts.speaking }), clock, button(texts.cancel, () => cancelling.abort(), "quiet small")));
    try {
      const body = { voice_id: voiceId(), text: said };
      const audio = await call("/api/generate", { method: "POST", body, signal: cancelling.signal });
      status.replaceChildren();
      history.prepend(spoken(voice, said, audio, signal));
      announce(texts.spoken);
    } catch (error) {
      if (error.code === "session_ended") throw error;
      status.replaceChildren(...(cancelling.signal.aborted ? [] : [problemBox(error, { again: speak })]));
    } finally {
      clearInterval(ticking);
      send.disabled = false;
    }
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); speak(); });
  return card(texts.speak_title, form, history);
}

function spoken(voice, said, audio, signal) {
  const address = URL.createObjectURL(audio);
  signal.addEventListener("abort", () => URL.revokeObjectURL(address), { once: true });
  const player = el("audio", { controls: true, src: address, "aria-label": texts.speech_of(said.slice(0, 60)) });
  player.play().catch(() => {}); // a browser may want a click first
  return el("li", {}, el("p", {}, said), player,
    el("a", { class: "button quiet small", href: address, download: `${voice.name ?? "speech"}.wav` }, texts.download));
}
