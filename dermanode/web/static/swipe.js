// Two pictures, one over the other: the slider says where the earlier one ends.
for (const swipe of document.querySelectorAll(".swipe")) {
  const slider = swipe.querySelector("input");
  const show = () => {
    swipe.style.setProperty("--at", slider.value / 100);
    slider.setAttribute("aria-valuetext", slider.value + " % then, " + (100 - slider.value) + " % now");
  };
  slider.addEventListener("input", show);
  show();
}
