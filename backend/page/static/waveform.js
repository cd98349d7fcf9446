// A picture of audio: one bar for each part of it. It is decoration; the player beside it has the same content.
import { el } from "./dom.js";

const BARS = 72;
const SVG = "http://www.w3.org/2000/svg";

export function waveform(blob, told = () => {}) {
  const place = el("div", { class: "waveform" });
  levelsOf(blob).then(({ levels, duration }) => {
    place.append(picture(levels, Math.max(...levels, 1e-4)));
    told(duration);
  }, () => place.remove()); // what this browser cannot decode has no picture
  return place;
}

// The root mean square of each part, and the seconds of all.
export async function levelsOf(blob) {
  const context = new OfflineAudioContext(1, 1, 16000);
  const audio = await context.decodeAudioData(await blob.arrayBuffer());
  const samples = audio.getChannelData(0);
  const part = Math.max(1, Math.floor(samples.length / BARS));
  const levels = Array.from({ length: BARS }, (_, bar) => {
    let sum = 0;
    for (let at = bar * part; at < Math.min(samples.length, (bar + 1) * part); at += 1) sum += samples[at] ** 2;
    return Math.sqrt(sum / part);
  });
  return { levels, duration: audio.duration };
}

// `loudest` is the level of a full bar. The power shows quiet parts beside a loud one.
export function picture(levels, loudest) {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("viewBox", `0 0 ${BARS * 4} 48`);
  made.setAttribute("preserveAspectRatio", "none");
  made.setAttribute("aria-hidden", "true");
  levels.forEach((level, bar) => {
    const height = Math.max(2, (level / loudest) ** 0.6 * 44);
    const shape = document.createElementNS(SVG, "rect");
    const values = { x: bar * 4 + 0.5, y: 24 - height / 2, width: 2.5, height, rx: 1.25 };
    for (const [name, value] of Object.entries(values)) shape.setAttribute(name, String(value));
    made.append(shape);
  });
  return made;
}
