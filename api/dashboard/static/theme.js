// Before anything is painted: the theme that was chosen here, else the one of the system.
(() => {
  try {
    const chosen = localStorage.getItem("eva-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    /* no storage: the system's theme */
  }
})();
