// Messages: all boxes of a page at once, and paths that copy themselves. The pages work without it.

const all = document.querySelector("[data-pick-all]");
if (all) {
  const boxes = [...document.querySelectorAll('input[name="seq"][form="bulk"]')];
  all.hidden = false;
  all.addEventListener("change", () => boxes.forEach((box) => { box.checked = all.checked; }));
  for (const box of boxes) {
    box.addEventListener("change", () => {
      all.checked = boxes.every((one) => one.checked);
      all.indeterminate = !all.checked && boxes.some((one) => one.checked);
    });
  }
}

// A path becomes a button where it can be copied: of a clipboard there is only one on secure pages.
if (navigator.clipboard) {
  for (const path of document.querySelectorAll(".leaf > [data-path]")) {
    if (!path.textContent) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "path copies";
    button.dataset.path = "";
    button.textContent = path.textContent;
    button.title = "Copy the path";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.textContent);
      button.title = "Copied";
    });
    path.replaceWith(button);
  }
}

// A download leaves the page as it is: its button can be used again.
for (const button of document.querySelectorAll("[data-stays]")) {
  button.form.addEventListener("submit", () => setTimeout(() => { button.disabled = false; }, 1000));
}
