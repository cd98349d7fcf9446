// Sign-in, sign-up and sign-out. What comes from a server is shown as text, never as HTML.
import { callAuth, currentSession, keepSession, oauthAddress, onOtherTab, readSession, signOut, takeSessionFromAddress }
  from "./session.js";
import { texts } from "./texts.en.js";

const get = (id) => document.getElementById(id);
const say = (key) => { get("message").textContent = key ? texts[key] ?? texts.unknown : ""; };

async function show() {
  const session = await currentSession().catch((error) => { say(error.code ?? "unknown"); return readSession(); });
  get("signed-in").hidden = !session;
  get("signed-out").hidden = Boolean(session);
  get("user").textContent = session?.user?.email ?? "";
}

const back = () => encodeURIComponent(location.origin + location.pathname);

const ways = {
  async password(email, password) {
    keepSession(await callAuth("token?grant_type=password", { email, password }));
  },
  async signup(email, password) {
    const answer = await callAuth(`signup?redirect_to=${back()}`, { email, password });
    if (!answer.access_token) return "confirm_email";
    keepSession(answer);
  },
  async link(email) {
    await callAuth(`otp?redirect_to=${back()}`, { email, create_user: true });
    return "link_sent";
  },
};

async function attempt(work) {
  const buttons = document.querySelectorAll("button");
  buttons.forEach((each) => { each.disabled = true; });
  say("");
  try {
    say(await work());
  } catch (error) {
    say(error.code ?? "unknown");
  }
  await show();
  buttons.forEach((each) => { each.disabled = false; });
}

get("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  const way = event.submitter?.value ?? "password";
  const password = get("password").value;
  if (way !== "link" && !password) {
    say("password_missing");
    get("password").focus();
    return;
  }
  attempt(() => ways[way](get("email").value, password)).then(() => { get("password").value = ""; });
});
get("sign-out").addEventListener("click", () => attempt(async () => { await signOut(); return "signed_out"; }));
onOtherTab(() => attempt(async () => ""));

async function offerOAuth() {
  const { external = {} } = await callAuth("settings");
  for (const [name, enabled] of Object.entries(external)) {
    if (!enabled || ["email", "phone", "anonymous_users"].includes(name)) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = texts.continue_with(name);
    button.addEventListener("click", () => location.assign(oauthAddress(name)));
    get("oauth").append(button);
  }
}

await attempt(takeSessionFromAddress);
offerOAuth().catch(() => {});
