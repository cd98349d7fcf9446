// Sign-in and sign-up: password, magic link, and OAuth where the project offers it.
import { announce, el, field } from "./dom.js";
import { callAuth, keepSession, oauthAddress } from "./session.js";
import { authProblem, texts } from "./texts.en.js";

const back = () => encodeURIComponent(location.origin + location.pathname);

const ways = {
  async password(email, password) {
    keepSession(await callAuth("token?grant_type=password", { email, password }));
  },
  async signup(email, password) {
    const answer = await callAuth(`signup?redirect_to=${back()}`, { email, password });
    if (!answer.access_token) return texts.confirm_email;
    keepSession(answer);
  },
  async link(email) {
    await callAuth(`otp?redirect_to=${back()}`, { email, create_user: true });
    return texts.link_sent;
  },
};

export function signInView(signedIn, fault) {
  const email = el("input", { type: "email", name: "email", autocomplete: "email", required: true });
  const password = el("input", { type: "password", name: "password", autocomplete: "current-password" });
  const message = el("p", { class: "problem", role: "alert", hidden: !fault }, fault ?? "");
  const say = (text, isProblem) => {
    message.textContent = text;
    message.className = isProblem ? "problem" : "note";
    message.hidden = !text;
  };
  const form = el("form", { class: "card", novalidate: false, "aria-labelledby": "sign-in-title" },
    el("h2", { id: "sign-in-title" }, texts.sign_in_title),
    field(texts.email, email), field(texts.password, password), message,
    el("button", { value: "password" }, texts.sign_in),
    el("div", { class: "actions" },
      el("button", { value: "signup", class: "quiet" }, texts.sign_up),
      el("button", { value: "link", class: "quiet" }, texts.send_link)),
    el("div", { class: "actions", id: "oauth" }));

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const way = event.submitter?.value ?? "password";
    if (way !== "link" && !password.value) {
      say(texts.password_missing, true);
      password.focus();
      return;
    }
    const buttons = form.querySelectorAll("button");
    buttons.forEach((each) => { each.disabled = true; });
    say("");
    try {
      const told = await ways[way](email.value, password.value);
      if (told) say(told);
      else {
        announce(texts.signed_in);
        await signedIn();
      }
    } catch (error) {
      say(authProblem(error.code), true);
    }
    buttons.forEach((each) => { each.disabled = false; });
  });
  offerOAuth(form.querySelector("#oauth")).catch(() => {}); // without settings there are the other ways

  return el("div", { class: "hero" },
    el("div", { class: "pitch" },
      el("h1", { tabindex: "-1" }, texts.headline), el("p", { class: "lead" }, texts.lead),
      el("ul", { class: "points" }, texts.points.map((each) => el("li", {}, each))),
      el("p", {}, el("a", { href: "/verify" }, texts.verify_link))),
    form);
}

async function offerOAuth(place) {
  const { external = {} } = await callAuth("settings");
  for (const [name, enabled] of Object.entries(external)) {
    if (!enabled || ["email", "phone", "anonymous_users"].includes(name)) continue;
    const onclick = () => location.assign(oauthAddress(name));
    place.append(el("button", { type: "button", class: "quiet", onclick }, texts.continue_with(name)));
  }
}
