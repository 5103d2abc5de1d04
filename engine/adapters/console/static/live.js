// Puts counters that the server tells of where they belong: elements with data-live. While nobody looks, nothing is asked.

const places = new Map();
for (const place of document.querySelectorAll("[data-live]")) {
  const name = place.dataset.live;
  places.set(name, [...(places.get(name) ?? []), place]);
}

let source = null;

function attention(event) {
  const list = document.getElementById("attention");
  if (!list) return;
  const parsed = new DOMParser().parseFromString(JSON.parse(event.data), "text/html");
  list.replaceChildren(...parsed.body.childNodes);
}

function told(event) {
  const values = JSON.parse(event.data);
  for (const [name, text] of Object.entries(values)) {
    for (const place of places.get(name) ?? []) {
      if (place.textContent !== text) {
        place.textContent = text;
        if (place.dataset.zero !== undefined) place.classList.toggle("zero", text === "0");
      }
    }
  }
}

function listen() {
  if (source || document.hidden) return;
  source = new EventSource("/live");
  source.addEventListener("message", told);
  source.addEventListener("attention", attention);
  source.addEventListener("signed-out", () => location.reload());
}

function rest() {
  if (source) source.close();
  source = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? rest() : listen()));
window.addEventListener("pagehide", rest);
window.addEventListener("pageshow", listen);
listen();
