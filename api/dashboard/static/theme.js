// Applies the theme that was chosen on this device before anything is painted; without one, the system decides.
(() => {
  try {
    const chosen = localStorage.getItem("eva-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    /* no storage: the system decides */
  }
})();
