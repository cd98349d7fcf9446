// The sample as it was sent beside what a provider gets, what was done to it, and what was measured against the limits of its
// provider, in the service's words. Read when it is opened.
import { el, seconds } from "./dom.js";
import { problemBox } from "./problems.js";
import { call, data, file } from "./service.js";
import { cleaningTexts, problems, texts } from "./texts.en.js";
import { levelsOf, picture } from "./waveform.js";

export function measures(sampleId, provider, signal) {
  const sounds = el("div");
  const place = el("div");
  const box = el("details", { class: "measures" }, el("summary", {}, texts.measured), el("div", { class: "stack" }, sounds, place));
  const shown = (where, work) => async () => {
    try {
      where.replaceChildren(...await work());
    } catch (error) {
      if (!signal.aborted) where.replaceChildren(problemBox(error, { again: shown(where, work) }));
    }
  };
  const compare = shown(sounds, () => compared(sampleId, signal));
  const read = shown(place, async () => {
    const report = await call(`/api/v1/voice-samples/${sampleId}/report`, { signal });
    const mine = report.providers.find((each) => each.provider === provider) ?? report.providers[0];
    return [
      el("ul", { class: "plain" }, mine.measures.map(({ words, is_met: snake, isMet = snake }) =>
        el("li", { class: isMet ? "met" : "unmet" }, words, el("span", { class: "unseen" }, ` (${texts.met[isMet]})`)))),
      ...report.warnings.map(({ code, message }) => el("p", { class: "note" }, problems[code]?.[0] ?? message)),
    ];
  });
  box.addEventListener("toggle", () => {
    if (!box.open || place.hasChildNodes()) return;
    compare();
    read();
  });
  return box;
}

// Both with one scale, so that what became louder looks louder.
async function compared(sampleId, signal) {
  const columns = "select=path,prepared_path,measures,removed_at";
  const [sample] = await data(`voice_samples?${columns}&id=eq.${sampleId}`, { signal });
  if (!sample || sample.removed_at) return [el("p", { class: "note" }, texts.sample_removed)];
  const sounds = await Promise.all([[texts.as_sent, sample.path], [texts.as_cleaned, sample.prepared_path]]
    .filter(([, path]) => path)
    .map(async ([title, path]) => {
      const blob = await file(`voice-samples/${path}`, { signal });
      return { title, blob, ...await levelsOf(blob).catch(() => ({})) }; // what this browser cannot decode has no picture
    }));
  const loudest = Math.max(...sounds.flatMap(({ levels = [] }) => levels), 1e-4);
  const done = sample.measures ? cleaningTexts(sample.measures) : [];
  return [
    el("div", { class: "pair" }, sounds.map((each) => sound(each, loudest, signal))),
    done.length ? el("p", {}, `${texts.cleaning} ${done.join(", ")}.`) : "",
  ];
}

function sound({ title, blob, levels, duration }, loudest, signal) {
  const address = URL.createObjectURL(blob);
  signal.addEventListener("abort", () => URL.revokeObjectURL(address), { once: true });
  return el("div", { class: "sound" },
    el("p", {}, el("strong", {}, title), duration ? ` · ${seconds(duration)}` : ""),
    levels ? el("div", { class: "waveform" }, picture(levels, loudest)) : null,
    el("audio", { controls: true, src: address, "aria-label": title }));
}
