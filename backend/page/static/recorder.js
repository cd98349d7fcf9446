// The sample: recorded with a microphone, or a file that is dropped or chosen. It is played back before it is sent.
import { button, dropZone, el, field, seconds } from "./dom.js";
import { problemBox } from "./problems.js";
import { texts } from "./texts.en.js";
import { waveform } from "./waveform.js";

const ENOUGH_SECONDS = 8;
const LONGEST_SECONDS = 30;
const LONGEST_SENTENCE = 18;
const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
const BY_NAME = {
  wav: "audio/wav", mp3: "audio/mpeg", m4a: "audio/mp4", mp4: "audio/mp4", flac: "audio/flac", ogg: "audio/ogg",
  opus: "audio/ogg", webm: "audio/webm",
};

// Browsers name types in many ways; the service has one for each format.
function typed(file) {
  const type = BY_NAME[file.name.split(".").pop().toLowerCase()] ?? file.type.replace("/x-", "/");
  return new File([file], file.name, { type });
}

// `sentence`: what must be read; then no file is taken.
export function sampleInput(onsample, signal, sentence) {
  const place = el("div", { class: "sample" });
  const chosen = (sample) => { onsample(sample); if (sample) show(played(sample)); else show(...choices()); };
  const show = (...parts) => place.replaceChildren(...parts);
  const fail = (code) => show(...[problemBox({ code }, { again: () => show(...choices()) }), zone()].filter(Boolean));

  const script = () => el("blockquote", {}, el("p", { class: "hint" }, sentence ? texts.read_this : texts.read_aloud), sentence ?? texts.script);

  function choices() {
    return [
      script(),
      el("div", { class: "ways" },
        el("button", { type: "button", class: "record", onclick: () => record().catch(({ name }) => fail(name)) },
          el("span", { class: "dot", "aria-hidden": "true" }), sentence ? texts.record_sentence : texts.record),
        zone()),
    ];
  }

  const zone = () => sentence ? null : dropZone((file) => chosen(typed(file)), texts.drop, texts.formats);

  async function record(deviceId) {
    if (!navigator.mediaDevices) throw new DOMException("", "InsecureError");
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { ...plain, deviceId } });
    const release = () => stream.getTracks().forEach((track) => track.stop());
    signal.addEventListener("abort", release, { once: true });
    const recorder = new MediaRecorder(stream, { mimeType: TYPES.find((type) => MediaRecorder.isTypeSupported(type)) });
    const pieces = [];
    let kept = true;
    recorder.ondataavailable = (event) => pieces.push(event.data);
    recorder.onstop = () => {
      release();
      if (!kept) return;
      const [type] = recorder.mimeType.split(";");
      chosen(new File(pieces, "recording", { type }));
    };
    const drop = () => { kept = false; if (recorder.state !== "inactive") recorder.stop(); };
    const level = el("div", { class: "level" }, el("div"));
    const clock = el("p", { class: "clock", role: "timer" });
    const hint = el("p", { class: "hint", role: "status" }, sentence ? texts.whole_sentence : texts.keep_speaking);
    const stop = button(texts.stop, () => recorder.stop());
    show(
      script(),
      el("div", { class: "recording" }, clock, level, hint,
        el("div", { class: "actions" }, stop,
          button(texts.discard, () => { drop(); chosen(null); }, "quiet"))),
      ...await devices(stream, (id) => { drop(); record(id).catch(({ name }) => fail(name)); }));
    stop.focus();
    recorder.start(250);
    meter(stream, level.firstChild, recorder, (past) => {
      clock.textContent = sentence ? seconds(Math.floor(past)) : texts.of_seconds(Math.floor(past), ENOUGH_SECONDS);
      if (!sentence && past >= ENOUGH_SECONDS && hint.textContent !== texts.enough) hint.textContent = texts.enough;
      if (past >= (sentence ? LONGEST_SENTENCE : LONGEST_SECONDS)) recorder.stop();
    });
  }

  function played(sample) {
    const address = URL.createObjectURL(sample);
    signal.addEventListener("abort", () => URL.revokeObjectURL(address), { once: true });
    const facts = el("p", { class: "hint" }, texts.sample_facts(sample.name, sample.size));
    const picture = waveform(sample, (length) => { facts.textContent += ` · ${seconds(length)}`; });
    return el("div", { class: "chosen" }, picture,
      el("audio", { controls: true, src: address, "aria-label": sentence ? texts.your_sentence : texts.your_sample }), facts,
      button(sentence ? texts.another_try : texts.another_sample, () => chosen(null), "quiet small"));
  }

  show(...choices());
  return place;
}

async function devices(stream, change) {
  const inputs = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "audioinput");
  if (inputs.length < 2) return [];
  const present = stream.getAudioTracks()[0].getSettings().deviceId;
  const select = el("select", { onchange: () => change({ exact: select.value }) },
    inputs.map(({ deviceId, label }) =>
      el("option", { value: deviceId, selected: deviceId === present }, label || texts.microphone)));
  return [field(texts.microphone, select)];
}

// Draws the level until the recorder stops, and tells the seconds that are recorded.
function meter(stream, bar, recorder, tell) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const values = new Float32Array(analyser.fftSize);
  const started = performance.now();
  const draw = () => {
    if (recorder.state === "inactive") {
      context.close();
      return;
    }
    analyser.getFloatTimeDomainData(values);
    const power = values.reduce((sum, each) => sum + each * each, 0) / values.length;
    const level = Math.max(0, 1 + Math.log10(power + 1e-6) / 5); // 0 at -50 dB
    bar.style.transform = `scaleX(${Math.min(1, level).toFixed(3)})`;
    tell((performance.now() - started) / 1000);
    requestAnimationFrame(draw);
  };
  draw();
}
