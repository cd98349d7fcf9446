// What is shown: the sign-in, the list of voices, a new voice, or one voice.
import { consentsView } from "./consents.js";
import { newVoiceView } from "./create.js";
import { announce, button, el, showView } from "./dom.js";
import { erasureView, lastReceipt } from "./erasure.js";
import { problemBox } from "./problems.js";
import { currentSession, onOtherTab, readSession, signOut, isSessionInAddress, takeSessionFromAddress } from "./session.js";
import { signInView } from "./sign_in.js";
import { authProblem, texts } from "./texts.en.js";
import { voiceView } from "./voice.js";
import { listVoices, voicesView } from "./voices.js";

let leaving = new AbortController(); // ends what the present view has under way
let user = null;

async function open(make) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  try {
    const view = await make(signal);
    if (!signal.aborted) showView(view);
  } catch (error) {
    if (signal.aborted) return;
    if (error.code === "session_ended") await start(texts.session_ended);
    else showView(problemBox(error, { again: () => open(make) }));
  }
}

const pages = {
  voices: (signal) => voicesView(pages, open, signal),
  create: (voice, isFirst) => (signal) =>
    newVoiceView(voice, (made) => open(pages.voice(made)), isFirst ? null : () => open(pages.voices), signal),
  voice: (voice) => (signal) => voiceView(voice, pages, open, signal),
  consents: (signal) => consentsView(pages, open, signal),
  erasure: (receipt) => (signal) => erasureView(receipt, pages, open, signal),
};

async function start(fault) {
  const session = await currentSession().catch(readSession);
  user = session?.user?.id ?? null;
  showAccount(session);
  if (!session) {
    leaving.abort();
    showView(signInView(() => start(), fault));
    return;
  }
  await open(async (signal) => {
    const voices = await listVoices();
    return voices.length || lastReceipt() ? voicesView(pages, open, signal, voices) : pages.create(null, true)(signal);
  });
}

function showAccount(session) {
  const account = document.getElementById("account");
  account.replaceChildren();
  if (!session) return;
  account.append(
    el("span", { class: "user" }, session.user?.email ?? ""),
    button(texts.sign_out, async () => {
      await signOut();
      announce(texts.signed_out);
      await start();
    }, "quiet small"));
}

onOtherTab(() => { if ((readSession()?.user?.id ?? null) !== user) start(); });
addEventListener("unhandledrejection", (event) => {
  if (event.reason?.code !== "session_ended") return;
  event.preventDefault();
  start(texts.session_ended);
});
addEventListener("play", ({ target }) => { // one at a time
  document.querySelectorAll("audio").forEach((each) => { if (each !== target) each.pause(); });
}, true);
const arrive = () => takeSessionFromAddress().then(() => start(), (error) => start(authProblem(error.code)));
addEventListener("hashchange", () => { if (isSessionInAddress()) arrive(); }); // a link that is opened in this tab
await arrive();
