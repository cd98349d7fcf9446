// What the user has agreed to, which voices are under it, and how it is taken back.
import { announce, ask, button, card, el } from "./dom.js";
import { problemBox } from "./problems.js";
import { call, data } from "./service.js";
import { readSession } from "./session.js";
import { dateText, languageName, texts } from "./texts.en.js";

const MOST = 1000; // rows of each table, which is as many as the Data API answers at once

// Each signature of the user: its statement, when it was signed and revoked, and the names of the voices under it.
async function listConsents(signal) {
  const mine = `user_id=eq.${readSession()?.user?.id}`;
  const statement = "voice_consent_statements(locale,body)";
  const [entries, samples, voices, reflections] = await Promise.all([
    data(`voice_consents?select=id,revokes,recorded_at,subject_kind,${statement}&${mine}&order=position.desc&limit=${MOST}`, { signal }),
    data(`voice_samples?select=consent_id,voice_clone_attempts(voice_id,reflection_id)&${mine}&removed_at=is.null&limit=${MOST}`, { signal }),
    data(`voices?select=id,name&${mine}&order=created_at.desc&limit=${MOST}`, { signal }),
    data("reflections?select=id,name", { signal }),
  ]);
  const made = new Map(voices.map((voice) => [voice.id, voice]));
  const named = new Map(reflections.map(({ id, name }) => [id, name]));
  const revoked = new Map(entries.filter((each) => each.revokes).map((each) => [each.revokes, each.recorded_at]));
  const under = (consent) => [...new Set(samples
    .filter((each) => each.consent_id === consent)
    .flatMap((each) => each.voice_clone_attempts)
    .filter((attempt) => made.has(attempt.voice_id))
    .map((attempt) => named.get(attempt.reflection_id) ?? made.get(attempt.voice_id).name))];
  return entries.filter((each) => !each.revokes).map((each) => ({
    id: each.id, signed: each.recorded_at, revoked: revoked.get(each.id), ...each.voice_consent_statements,
    voices: each.subject_kind === "employee" ? [texts.voice_of_employee] : under(each.id), // whose samples are the organization's
  }));
}

// Asks first. True when the consent is revoked; problems are shown in `place`.
export async function takeBack(consent, place, done) {
  const what = consent.voices.length ? texts.take_back_voices(consent.voices.join(", ")) : texts.take_back_nothing;
  if (!await ask(texts.take_back_question, texts.take_it_back, texts.keep_consent, [what, texts.take_back_end])) return;
  try {
    await call(`/v1/consents/${consent.id}`, { method: "DELETE" });
    announce(texts.taken_back);
    await done();
  } catch (error) {
    if (error.code === "session_ended") throw error;
    place.replaceChildren(problemBox(error, { again: () => takeBack(consent, place, done) }));
  }
}

// The consent that the sample of a voice came with.
export async function takeBackOf(sample, name, place, done) {
  try {
    const [{ consent_id: id }] = await data(`voice_samples?select=consent_id&id=eq.${sample}`);
    await takeBack((await listConsents()).find((each) => each.id === id) ?? { id, voices: [name] }, place, done);
  } catch (error) {
    if (error.code === "session_ended") throw error;
    place.replaceChildren(problemBox(error, { again: () => takeBackOf(sample, name, place, done) }));
  }
}

export const consentsCard = (pages, open) => card(texts.consents_title, el("p", {}, texts.consents_text),
  el("div", { class: "actions" }, button(texts.show_consents, () => open(pages.consents), "quiet")));

export async function consentsView(pages, open, signal) {
  const consents = await listConsents(signal);
  return el("div", { class: "stack" },
    el("div", { class: "row" },
      el("h1", { tabindex: "-1" }, texts.consents_title), button(texts.all_voices, () => open(pages.voices), "quiet small")),
    el("p", {}, consents.length ? texts.consents_lead : texts.no_consents),
    el("ul", { class: "stack plain" }, consents.map((consent) => consentItem(consent, pages, open))));
}

function consentItem(consent, pages, open) {
  const place = el("div");
  const state = consent.revoked ? texts.revoked_on(dateText(consent.revoked))
    : consent.voices.length ? texts.voices_under(consent.voices.join(", ")) : texts.no_voice_under;
  return el("li", { class: consent.revoked ? "card ended" : "card" },
    el("div", {}, el("h2", {}, texts.signed_on(dateText(consent.signed))), el("p", { class: "hint" }, state)),
    el("details", {}, el("summary", {}, texts.statement_in(languageName(consent.locale))),
      el("p", { class: "statement", lang: consent.locale }, consent.body)),
    place,
    consent.revoked ? null : el("div", { class: "actions" },
      button(texts.take_back, () => takeBack(consent, place, () => open(pages.consents)), "quiet danger")));
}
