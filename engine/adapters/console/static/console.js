// Keys, and small comforts. Every page works without them.

const isTyping = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;

const rows = () => [...document.querySelectorAll("[data-rows] > tr, [data-rows] > li")].filter((row) => !row.hidden);

function step(by) {
  const all = rows();
  if (all.length === 0) return;
  const now = all.findIndex((row) => row.classList.contains("here"));
  const next = all[Math.min(Math.max(now + by, 0), all.length - 1)];
  all.forEach((row) => row.classList.toggle("here", row === next));
  const link = next.querySelector("a, button, summary");
  if (link) link.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function showKeys() {
  const keys = document.getElementById("keys");
  if (keys) keys.open ? keys.close() : keys.showModal();
}

let awaitsPage = false;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (isTyping(event.target)) event.target.blur();
    for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
    return;
  }
  if (isTyping(event.target)) return;
  if (awaitsPage) {
    awaitsPage = false;
    const link = document.querySelector(`nav.main a[data-key="${CSS.escape(event.key)}"]`);
    if (link) {
      event.preventDefault();
      link.click();
      return;
    }
  }
  if (event.key === "/") {
    const box = document.querySelector("[data-search]");
    if (box) {
      event.preventDefault();
      box.focus();
      box.select();
    }
  } else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "g") awaitsPage = true;
  else if (event.key === "?") {
    event.preventDefault();
    showKeys();
  }
});

document.addEventListener("click", (event) => {
  const keys = event.target.closest("[data-keys]");
  if (keys && document.getElementById("keys")) {
    event.preventDefault();
    showKeys();
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

// On a narrow screen the navigation scrolls: where one is shows.
const current = document.querySelector("nav.main a[aria-current]");
if (current) current.closest("nav").scrollLeft = current.offsetLeft - (current.closest("nav").clientWidth - current.offsetWidth) / 2;

// What was done is said by a page of its own: the focus is put there, so that it is read out, and the way on begins there.
const told = document.querySelector("[data-told]");
if (told) told.focus();

// A second click sends nothing: the first one is under way. After a way back the page is as it was.
document.addEventListener("submit", (event) => {
  if (event.target.method === "dialog" || event.defaultPrevented) return;
  // What is answered with a file leaves the page as it is.
  if (event.submitter && event.submitter.hasAttribute("data-again")) return;
  for (const button of event.target.querySelectorAll("button:not([type=button])")) {
    setTimeout(() => { button.disabled = true; }, 0);
  }
});
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("button[disabled]:not([data-disabled])")) button.disabled = false;
});
