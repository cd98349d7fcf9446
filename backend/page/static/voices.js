// The voices of the user, and what can be done with one of them.
import { consentsCard, takeBackOf } from "./consents.js";
import { announce, ask, button, el, field } from "./dom.js";
import { erasureCard } from "./erasure.js";
import { problemBox } from "./problems.js";
import { deleteVoice, voicesOf } from "./providers.js";
import { call, data } from "./service.js";
import { mirrorText, texts } from "./texts.en.js";

export const listVoices = () => data("reflections?select=id,name,voice,created_at&order=created_at.desc&limit=100");

export async function voicesView(pages, open, signal, listed) {
  const voices = listed ?? await listVoices();
  const title = el("h1", { tabindex: "-1" }, texts.voices_title);
  const make = button(texts.new_voice, () => open(pages.create(null)));
  const more = [consentsCard(pages, open), erasureCard(pages, open)];
  if (!voices.length) {
    return el("div", { class: "stack" }, title, el("p", {}, texts.no_voices), el("div", {}, make), more);
  }
  return el("div", { class: "stack" },
    el("div", { class: "row" }, title, make),
    el("ul", { class: "stack plain" }, voices.map((voice) =>
      el("li", { class: "card voice" },
        el("div", {}, el("h2", {}, voice.name ?? texts.my_voice), el("p", { class: "hint" }, mirrorText(voice.voice))),
        el("button", {
          type: "button", class: "quiet", "aria-label": texts.open_named(voice.name), onclick: () => open(pages.voice(voice)),
        }, texts.open)))),
    more);
}

// Rename, another sample, the voice before, take back the consent, delete.
export function manageVoice(voice, state, pages, open, reload, stop) {
  const place = el("div");
  const name = el("input", { maxlength: "120", required: true, value: voice.name ?? "" });
  const attempt = (work, done) => async () => {
    try {
      await work();
      place.replaceChildren();
      announce(done);
      await reload();
    } catch (error) {
      if (error.code === "session_ended") throw error;
      place.replaceChildren(problemBox(error, { again: attempt(work, done) }));
    }
  };
  const rename = attempt(async () => {
    await data(`reflections?id=eq.${voice.id}`, { method: "PATCH", body: { name: name.value.trim() } });
    voice.name = name.value.trim();
  }, texts.renamed);
  const form = el("form", { class: "rename", onsubmit: (event) => { event.preventDefault(); rename(); } },
    field(texts.voice_name, name), el("button", { class: "quiet" }, texts.rename));
  const restore = attempt(async () => {
    await call(`/v1/reflections/${voice.id}/voice/restore`, { method: "POST" });
    await open(pages.voice({ id: voice.id, name: voice.name })); // it follows the attempt that is active now
  }, texts.restored);
  const withdraw = () => takeBackOf(state().sample, voice.name, place, () => open(pages.voices));
  const remove = async () => {
    if (!await ask(texts.delete_question(voice.name), texts.delete, texts.keep)) return;
    try {
      for (const each of await voicesOf(voice.id)) await deleteVoice(each.voice_id);
      stop();
      await data(`reflections?id=eq.${voice.id}`, { method: "DELETE" });
      announce(texts.deleted);
      await open(pages.voices);
    } catch (error) {
      if (error.code === "session_ended") throw error;
      place.replaceChildren(problemBox(error, { again: remove }));
    }
  };
  return el("div", {}, form, place,
    el("div", { class: "actions" },
      button(texts.another_sample, () => open(pages.create(voice)), "quiet"),
      state().canRestore ? button(texts.restore, restore, "quiet") : null,
      state().sample ? button(texts.take_back, withdraw, "quiet danger") : null,
      button(texts.delete, remove, "quiet danger")));
}
