// Everything of the user is deleted, and a receipt says where that is confirmed.
import { announce, ask, button, card, el } from "./dom.js";
import { problemBox } from "./problems.js";
import { call, data } from "./service.js";
import { readSession } from "./session.js";
import { placeText, texts } from "./texts.en.js";

// The id of the user's last receipt, in the storage of the browser.
const kept = () => `likeness-erasure-${readSession()?.user?.id}`;
export const lastReceipt = () => localStorage.getItem(kept());

export function erasureCard(pages, open) {
  const place = el("div");
  const erase = async () => {
    if (!await ask(texts.erase_question, texts.erase, texts.keep_everything)) return;
    try {
      const receipt = await call("/v1/me", { method: "DELETE" });
      localStorage.setItem(kept(), receipt.erasure.erasure_id);
      await data("reflections?id=not.is.null", { method: "DELETE" }); // row level security keeps those of others
      announce(texts.erased);
      await open(pages.erasure(receipt));
    } catch (error) {
      if (error.code === "session_ended") throw error;
      place.replaceChildren(problemBox(error, { again: erase }));
    }
  };
  return card(texts.erase_title, el("p", {}, texts.erase_text), el("p", { class: "hint" }, texts.erase_kept), place,
    el("div", { class: "actions" }, button(texts.erase, erase, "quiet danger"),
      lastReceipt() ? button(texts.last_receipt, () => open(pages.erasure(null)), "quiet") : null));
}

export async function erasureView(receipt, pages, open, signal) {
  const found = receipt ?? await call(`/v1/me/erasures/${lastReceipt()}`);
  const { erasure } = found;
  const file = URL.createObjectURL(new Blob([JSON.stringify(found, null, 2)], { type: "application/json" }));
  signal.addEventListener("abort", () => URL.revokeObjectURL(file), { once: true });
  return el("div", { class: "stack" },
    el("h1", { tabindex: "-1" }, texts.receipt_title),
    el("p", {}, erasure.status === "complete" ? texts.erasure_complete : texts.erasure_partial),
    el("ul", { class: "receipt plain" }, erasure.places.map((each) =>
      el("li", {}, el("strong", {}, placeText(each)), " ", each.confirmed_at ? texts.confirmed : each.is_held ? texts.held : texts.not_confirmed))),
    el("div", { class: "actions" },
      erasure.status === "complete" ? null : button(texts.look_again, () => open(pages.erasure(null)), "quiet"),
      el("a", { class: "button quiet", href: file, download: "receipt.json" }, texts.download_receipt),
      button(texts.start_anew, () => open(pages.voices), "quiet")));
}
