// The filter of the timeline. Without this script the page shows all there is.
(() => {
  const field = document.getElementById("filter");
  if (!field) return;
  const found = document.getElementById("found");
  const groups = [...document.querySelectorAll("details.group")].map((group) => ({
    group,
    open: group.open,
    jobs: [...group.querySelectorAll("li")].map((job) => ({ job, text: job.textContent.toLowerCase() })),
  }));
  field.closest("label").hidden = false;
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let total = 0;
    for (const { group, open, jobs } of groups) {
      let shown = 0;
      for (const { job, text } of jobs) {
        job.hidden = !words.every((word) => text.includes(word));
        shown += job.hidden ? 0 : 1;
      }
      group.hidden = shown === 0;
      group.open = words.length ? shown > 0 : open;
      total += shown;
    }
    found.textContent = words.length ? `${total.toLocaleString("en")} found` : "";
  });
})();
