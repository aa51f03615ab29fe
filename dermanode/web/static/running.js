// Asks how far the case is, and shows the page anew when it has ended.
const note = document.getElementById("running");
setInterval(async () => {
  const answer = await fetch("/api/cases/" + note.dataset.case);
  if (answer.ok && !["ready", "running"].includes((await answer.json()).state)) location.reload();
}, 2000);
