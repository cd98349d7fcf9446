// Elements are made here, and only with text: what comes from a server is never read as HTML.
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name === "className" ? "class" : name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((each) => each !== null && each !== undefined && each !== false));
  return node;
}

let counter = 0;
export const newId = (name) => `${name}-${(counter += 1)}`;

export function field(label, input, hint) {
  input.id ||= newId("field");
  const note = hint && el("p", { class: "hint", id: `${input.id}-hint` }, hint);
  if (note) input.setAttribute("aria-describedby", note.id);
  return el("div", { class: "field" }, el("label", { for: input.id }, label), input, note);
}

export const button = (text, onclick, kind = "") => el("button", { type: "button", class: kind, onclick }, text);

// Where an audio file is dropped or chosen.
export function dropZone(chosen, label, hint) {
  const input = el("input", { type: "file", accept: "audio/*,.m4a,.webm,.opus", class: "unseen", id: newId("file") });
  input.addEventListener("change", () => input.files[0] && chosen(input.files[0]));
  const zone = el("label", { class: "drop", for: input.id }, el("span", {}, label), el("span", { class: "hint" }, hint));
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) chosen(file);
  });
  return el("div", { class: "dropping" }, input, zone);
}

// Shows a view, and moves the focus to its title, as a new page would.
export function showView(view) {
  document.querySelector("main").replaceChildren(view);
  view.querySelector("h1, h2")?.focus();
}

export function card(title, ...children) {
  const id = newId("title");
  return el("section", { class: "card", "aria-labelledby": id }, el("h2", { id, tabindex: "-1" }, title), ...children);
}

// One line at the top for what the page waits for, one at the bottom for what was done.
export const announce = (text) => { document.getElementById("message").textContent = text; };
export function waitingFor(text) {
  const line = document.getElementById("waiting");
  line.textContent = text;
  line.hidden = !text;
}

export async function ask(question, yes, no, more = [], kind = "danger") {
  const dialog = el("dialog", { "aria-labelledby": "question" },
    el("form", { method: "dialog" },
      el("p", { id: "question" }, el("strong", {}, question)), more.map((each) => el("p", {}, each)),
      el("div", { class: "actions" },
        el("button", { class: kind, value: "yes" }, yes), el("button", { class: "quiet", value: "no" }, no))));
  document.body.append(dialog);
  dialog.showModal();
  await new Promise((resolve) => { dialog.addEventListener("close", resolve, { once: true }); });
  dialog.remove();
  return dialog.returnValue === "yes";
}

// With a space that does not break.
export const seconds = (value) => (value < 0.1 ? "< 0.1\u00a0s" : `${value.toFixed(value < 10 ? 1 : 0)}\u00a0s`);
