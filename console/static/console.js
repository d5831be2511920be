// The console works without this file. With it: parts marked data-live renew themselves, values can be copied, open menus close.

const texts = { vi: { copied: "Đã sao chép" }, en: { copied: "Copied" } }[document.documentElement.lang] ?? { copied: "Copied" };

// Buttons that copy: hidden without a script.
function showCopyButtons(root) {
  for (const button of root.querySelectorAll("button.copy[hidden]")) button.hidden = false;
}
document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("button.copy");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy ?? document.getElementById(button.dataset.copyFrom)?.textContent ?? "");
  const label = button.textContent;
  button.textContent = texts.copied;
  setTimeout(() => { button.textContent = label; }, 1500);
});

// Live parts: <… id="standings" data-live="3"> is fetched again with the page it is in, every 3 seconds, and replaced when it changed.
// data-live-url names another page. Nothing is fetched while the tab is hidden, and a part stays as it is while somebody types in it,
// presses on it (a click needs the same element to go down on and to come up from), or has one of its menus open.
let pressed = null;
addEventListener("pointerdown", (event) => { pressed = event.target; }, true);
for (const over of ["pointerup", "pointercancel"]) addEventListener(over, () => setTimeout(() => { pressed = null; }), true);
const FIELDS = "input:not([type=hidden]), textarea, select";
const typing = (focused) => focused?.matches(FIELDS) || focused?.closest("form")?.querySelector(FIELDS);
const busy = (part) => part.contains(document.activeElement) && typing(document.activeElement) || part.querySelector("details.confirm[open]") || part.contains(pressed);
// Whoever walks by keyboard stays where it was, if that is still there.
function focusAgain(had, old, fresher) {
  const named = (each) => each.getAttribute("aria-label") ?? each.textContent;
  const alike = (part) => [...part.querySelectorAll("a, button, summary, [tabindex]")].filter((each) => each.tagName === had.tagName && named(each) === named(had));
  const again = had === old ? fresher : alike(fresher)[alike(old).indexOf(had)];
  again?.focus({ preventScroll: true });
}
async function renew(url, ids) {
  const answer = await fetch(url, { headers: { "X-Laurel-Live": "1" }, redirect: "manual", signal: AbortSignal.timeout(30000) });
  if (answer.type === "opaqueredirect") { location.reload(); return; }
  if (!answer.ok) throw new Error(String(answer.status));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (document.hidden) return;
  for (const id of ids) {
    const old = document.getElementById(id), made = fresh.getElementById(id);
    if (!old || busy(old)) continue;
    if (!made) { old.removeAttribute("data-live"); continue; }
    for (const details of old.querySelectorAll("details[open]")) {
      const same = [...made.querySelectorAll("details")][[...old.querySelectorAll("details")].indexOf(details)];
      if (same) same.open = true;
    }
    showCopyButtons(made);
    if (old.outerHTML === made.outerHTML) continue;
    const had = document.activeElement, held = old.contains(had), fresher = document.importNode(made, true);
    old.replaceWith(fresher);
    if (held) focusAgain(had, old, fresher);
  }
}
// One round at a time: an answer that comes late must not overwrite a later one.
const due = new Map();
let failures = 0, asking = false;
async function round() {
  const now = Date.now(), wanted = new Map();
  for (const part of document.querySelectorAll("[data-live][id]")) {
    const seconds = Number(part.dataset.live) || 5;
    if (!due.has(part.id)) due.set(part.id, now + seconds * 1000);
    if (due.get(part.id) > now) continue;
    due.set(part.id, now + seconds * 1000 * 2 ** Math.min(failures, 4));
    const url = part.dataset.liveUrl ?? location.href;
    wanted.set(url, [...(wanted.get(url) ?? []), part.id]);
  }
  for (const [url, ids] of wanted) {
    try { await renew(url, ids); failures = 0; } catch { failures += 1; }
  }
}
setInterval(async () => {
  if (document.hidden || asking) return;
  asking = true;
  try { await round(); } finally { asking = false; }
}, 500);

// A confirmation closes with Escape, or when another place is clicked; its first field gets the focus, unless somebody was quicker: the
// event comes a moment after the opening, and what is being typed must not land in another field.
document.addEventListener("toggle", (event) => {
  const details = event.target;
  if (!details.matches?.("details.confirm") || !details.open || details.querySelector("form")?.contains(document.activeElement)) return;
  details.querySelector("textarea, input:not([type=hidden])")?.focus();
}, true);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const details of document.querySelectorAll("details.confirm[open]")) { details.open = false; details.querySelector("summary").focus(); }
});
document.addEventListener("click", (event) => {
  for (const details of document.querySelectorAll("details.confirm[open]")) if (!details.contains(event.target)) details.open = false;
});

// A form is sent once.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post" || event.defaultPrevented) return;
  const button = event.submitter;
  setTimeout(() => { if (button) button.disabled = true; });
});
addEventListener("pageshow", () => { for (const button of document.querySelectorAll("form button:disabled")) button.disabled = false; });

// A preview renews itself while one types: <form data-preview="/console/…" data-preview-into="id">. Without a script its button does it.
for (const form of document.querySelectorAll("form[data-preview]")) {
  let timer, asked = 0;
  const look = async () => {
    const number = ++asked;
    const asks = { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { "X-Laurel-Live": "1" }, redirect: "manual" };
    let answer, text;
    try { answer = await fetch(form.dataset.preview, asks); text = await answer.text(); } catch { return; } // the page is left, or the network is away
    if (number !== asked || !answer.ok && answer.status !== 400) return;
    const made = new DOMParser().parseFromString(text, "text/html").getElementById(form.dataset.previewInto);
    const old = document.getElementById(form.dataset.previewInto);
    if (made && old) old.replaceWith(document.importNode(made, true));
  };
  form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 350); });
}

// An id is proposed from the name until somebody writes one: <input data-id-of="name">.
for (const field of document.querySelectorAll("input[data-id-of]")) {
  const source = field.form.elements[field.dataset.idOf];
  const proposed = () => source.value.normalize("NFD").replace(/\p{M}/gu, "").replace(/đ/gi, "d").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 128);
  let own = field.value !== "" && field.value !== proposed();
  field.addEventListener("input", () => { own = field.value !== ""; });
  source.addEventListener("input", () => { if (!own) field.value = proposed(); });
}

// A sample event has the type that its form is about, as long as it had it before: <textarea data-type-of="event_type">.
for (const area of document.querySelectorAll("textarea[data-type-of]")) {
  const typed = () => area.form.querySelector(`[name="${area.dataset.typeOf}"]`)?.value.trim();
  const read = () => { try { return JSON.parse(area.value); } catch { return null; } };
  let last = typed() || read()?.type;
  area.form.addEventListener("input", (event) => {
    if (event.target.name !== area.dataset.typeOf) return;
    const sample = read(), now = typed();
    if (!now || now === "*" || sample?.type !== last) return;
    area.value = JSON.stringify({ ...sample, type: now }, null, 2);
    last = now;
  });
}

// On a phone the menu starts closed.
for (const details of document.querySelectorAll("details[data-open-wide]")) if (matchMedia("(max-width: 900px)").matches) details.open = false;
showCopyButtons(document);

// A field that is corrected is not wrong any more; whether it is right the next answer says.
document.addEventListener("input", (event) => {
  const field = event.target.closest?.(".field.wrong, fieldset.wrong");
  if (!field) return;
  field.classList.remove("wrong");
  event.target.removeAttribute("aria-invalid");
  for (const error of field.querySelectorAll(":scope > .error")) error.remove();
});
