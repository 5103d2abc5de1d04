// While a bundle is being made its part of the page is asked for again; without this there is "Look again".
const EVERY_MS = 1000;
const job = document.getElementById("job");

async function look() {
  const answer = await fetch(location.pathname, { headers: { accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const made = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("job");
  if (!made) return;
  job.replaceChildren(...made.childNodes);
  if (made.hasAttribute("data-running")) setTimeout(look, EVERY_MS);
}

if (job?.hasAttribute("data-running")) setTimeout(look, EVERY_MS);
