// Tries what stands in the panes a moment after it was typed. Without this the button does the same.

const form = document.getElementById("try");
const text = document.getElementById("text");
const gutter = form.querySelector(".gutter");
const busy = form.querySelector("[data-busy]");
const edited = form.querySelector("[data-edited]");
const PAUSE = 200;

let timer = 0;
let under_way = null;
let tried = "";

// -- line numbers beside the text

function number() {
  const lines = text.value.split("\n").length;
  if (gutter.childElementCount !== lines) {
    gutter.replaceChildren(...Array.from({ length: lines }, (_, at) => {
      const line = document.createElement("span");
      line.textContent = String(at + 1);
      return line;
    }));
  }
  mark();
}

function mark() {
  for (const line of gutter.querySelectorAll("[class]")) line.removeAttribute("class");
  for (const link of form.querySelectorAll('[data-part="problems"] [data-line]')) {
    const line = gutter.children[Number(link.dataset.line) - 1];
    if (line) line.className = link.dataset.kind;
  }
}

text.addEventListener("scroll", () => { gutter.scrollTop = text.scrollTop; });

form.addEventListener("click", (event) => {
  const link = event.target.closest("[data-line]");
  if (!link) return;
  event.preventDefault();
  const before = text.value.split("\n").slice(0, Number(link.dataset.line) - 1);
  const at = before.join("\n").length + (before.length ? 1 : 0) + Number(link.dataset.column) - 1;
  text.focus();
  text.setSelectionRange(at, at);
  text.scrollTop = Math.max(0, before.length - 4) * parseFloat(getComputedStyle(text).lineHeight);
});

// -- trying

function fields() {
  const sent = new URLSearchParams();
  for (const name of ["csrf", "origin", "text", "sample"]) sent.set(name, form.elements[name].value);
  return sent;
}

async function attempt() {
  const sent = fields();
  if (sent.toString() === tried) return;
  if (under_way) under_way.abort();
  const mine = under_way = new AbortController();
  busy.hidden = false;
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      body: sent,
      headers: { "x-fragment": "parts" },
      signal: mine.signal,
      redirect: "manual",
    });
    if (answer.type === "opaqueredirect") {
      // Not signed in any more: the button leads there.
      say("You are not signed in any more: copy your text, then sign in again.");
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const parts = page.querySelectorAll("[data-part]");
    if (parts.length === 0) {
      const told = page.querySelector("main h1, h1");
      say(told ? `${told.textContent}. It is tried again as you type.` : "The engine did not answer as it should.");
      return;
    }
    tried = sent.toString();
    for (const part of parts) {
      form.querySelector(`[data-part="${part.dataset.part}"]`).replaceChildren(...part.childNodes);
      if (part.dataset.edited) edited.hidden = part.dataset.edited !== "yes";
    }
    form.classList.remove("stale");
    mark();
  } catch (error) {
    if (error.name !== "AbortError") say("The engine cannot be reached. It is tried again as you type.");
  } finally {
    if (under_way === mine) busy.hidden = true;
  }
}

function say(sentence) {
  const told = document.createElement("p");
  told.className = "notice bad";
  told.textContent = sentence;
  form.querySelector('[data-part="problems"]').replaceChildren(told);
}

form.addEventListener("input", (event) => {
  if (event.target.name === "text") number();
  if (!["text", "sample"].includes(event.target.name)) return;
  form.classList.add("stale");
  clearTimeout(timer);
  timer = setTimeout(attempt, PAUSE);
});

form.addEventListener("submit", (event) => {
  if (event.submitter && !event.submitter.hasAttribute("data-try")) return;
  event.preventDefault();
  clearTimeout(timer);
  tried = "";
  attempt();
});

// -- the text as a file, for the folder that is under git

for (const button of form.querySelectorAll("[data-download]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text.value], { type: "text/yaml" }));
    link.download = button.dataset.download;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

// Tab indents, as in an editor; Esc, then Tab, goes on to the next control.
let leaves = false;
text.addEventListener("keydown", (event) => {
  if (event.key === "Escape") leaves = true;
  else if (event.key === "Tab" && !event.shiftKey && !leaves) {
    event.preventDefault();
    text.setRangeText("  ", text.selectionStart, text.selectionEnd, "end");
    text.dispatchEvent(new Event("input", { bubbles: true }));
  } else if (event.key !== "Shift") leaves = false;
});

number();
tried = fields().toString();
