// What was measured of the sample, against the limits of its provider, in the service's words. Read when it is opened.
import { el } from "./dom.js";
import { problemBox } from "./problems.js";
import { call } from "./service.js";
import { problems, texts } from "./texts.en.js";

export function measures(sampleId, provider, signal) {
  const place = el("div");
  const box = el("details", { class: "measures" }, el("summary", {}, texts.measured), place);
  const read = async () => {
    try {
      const report = await call(`/api/v1/voice-samples/${sampleId}/report`, { signal });
      const mine = report.providers.find((each) => each.provider === provider) ?? report.providers[0];
      place.replaceChildren(
        el("ul", { class: "plain" }, mine.measures.map(({ words, is_met: snake, isMet = snake }) =>
          el("li", { class: isMet ? "met" : "unmet" }, words, el("span", { class: "unseen" }, ` (${texts.met[isMet]})`)))),
        ...report.warnings.map(({ code, message }) => el("p", { class: "note" }, problems[code]?.[0] ?? message)));
    } catch (error) {
      if (!signal.aborted) place.replaceChildren(problemBox(error, { again: read }));
    }
  };
  box.addEventListener("toggle", () => { if (box.open && !place.hasChildNodes()) read(); });
  return box;
}
