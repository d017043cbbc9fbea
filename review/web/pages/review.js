// Keys, and decisions that survive a lost network: what was sent and not answered is kept in the
// tab and sent again, also after a reload. The server stores the same form once.
"use strict";

const KEPT = "saferank-unstored";
const AGAIN_MS = 2000;
const alertBox = document.getElementById("alert");
let busy = false;

function say(text) {
  alertBox.textContent = text;
  alertBox.hidden = !text;
}

function kept() {
  try { return JSON.parse(sessionStorage.getItem(KEPT)); } catch { return null; }
}

function keep(sent) {
  if (sent) sessionStorage.setItem(KEPT, JSON.stringify(sent));
  else sessionStorage.removeItem(KEPT);
}

async function send(sent) {
  busy = true;
  document.body.classList.add("busy");
  keep(sent);
  let status = 0, answer = {};
  try {
    const response = await fetch(sent.address, {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json" },
      body: sent.body,
    });
    status = response.status;
    answer = await response.json();
  } catch { /* no answer, or half of one */ }
  if (status === 200 && answer.next) {
    keep(null);
    say("");
    location.assign(answer.next);
    return;
  }
  document.body.classList.remove("busy");
  if (status === 0 || status === 200 || status >= 500) {
    say(`Not stored yet: ${answer.error || "the server does not answer"}. It is kept here and sent again; leave this tab open.`);
    setTimeout(() => send(sent), AGAIN_MS);
    return;
  }
  keep(null);
  busy = false;
  say(`Not stored: ${answer.error || "the server refused it"}`);
}

function submit(form, button) {
  if (busy) return;
  const data = new URLSearchParams(new FormData(form));
  if (button && button.name) data.set(button.name, button.value);
  send({ address: form.getAttribute("action"), body: data.toString() });
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!["/decide", "/undo"].includes(form.getAttribute("action"))) return;
  event.preventDefault();
  submit(form, event.submitter);
});

function press(element) {
  if (element instanceof HTMLFormElement) element.requestSubmit();
  else element.click();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return;
  const typing = event.target.closest("textarea, select, input:not([type=checkbox])");
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (!document.body.classList.contains("keys") || event.key.length !== 1) return;
  const key = CSS.escape(event.key.toLowerCase());
  const field = document.querySelector(`[data-focus="${key}"]`);
  const found = document.querySelector(`[data-key="${key}"]`);
  if (!field && !found) return;
  event.preventDefault();
  if (field) field.focus();
  else if (!busy) press(found);
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[type=button]");
  if (!button) return;
  if (button.dataset.toggle) {
    const on = document.body.classList.toggle(button.dataset.toggle);
    button.setAttribute("aria-pressed", String(on));
  }
  if (button.hasAttribute("data-maps")) {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    document.body.classList.toggle("maps", on);
    for (const image of document.querySelectorAll("img[data-map]")) {
      image.dataset.plain = image.dataset.plain || image.getAttribute("src");
      image.src = on ? image.dataset.map : image.dataset.plain;
    }
  }
  if (button.hasAttribute("data-select")) {
    const boxes = [...document.querySelectorAll("#many input[type=checkbox]")];
    const all = boxes.every((box) => box.checked);
    for (const box of boxes) box.checked = !all;
  }
});

async function sayWhy(image) {
  const note = document.createElement("p");
  note.className = "why";
  note.textContent = "The picture cannot be shown.";
  image.closest(".veil").append(note);
  try {
    const response = await fetch(image.src, { credentials: "same-origin" });
    if (response.status === 422) note.textContent = await response.text();
  } catch { /* the note says enough */ }
}

for (const image of document.querySelectorAll(".veil img")) {
  image.addEventListener("error", () => { image.hidden = true; sayWhy(image); });
  image.addEventListener("load", () => {
    image.hidden = false;
    for (const note of image.closest(".veil").querySelectorAll(".why")) note.remove();
  });
  if (image.complete && image.naturalWidth === 0) { image.hidden = true; sayWhy(image); }
}

const unstored = kept();
if (unstored) send(unstored);
document.body.dataset.ready = "yes";
