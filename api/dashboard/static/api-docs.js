// The interactive documentation of the API: Swagger UI over the document of this service, from this service alone.
const place = /** @type {HTMLElement} */ (document.getElementById("docs"));

/** @param {string} text @param {string} [address] @param {string} [label] a link behind the text */
function say(text, address, label) {
  const main = document.createElement("main");
  const line = document.createElement("p");
  line.className = "docs-note";
  line.setAttribute("role", "status");
  line.append(text);
  if (address && label) {
    const link = document.createElement("a");
    link.href = address;
    link.textContent = label;
    line.append(" ", link);
  }
  main.append(line);
  place.replaceChildren(main);
}

/** Swagger UI knows a theme of its own: it follows the dashboard's. */
function followTheme() {
  const chosen = document.documentElement.dataset.theme;
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle("dark-mode", dark);
}

/** Swagger UI's examples and responses scroll, but not by keyboard: it gives them no place among what has the focus. */
function letExamplesScroll() {
  for (const example of place.querySelectorAll("pre.microlight:not([tabindex])")) example.setAttribute("tabindex", "0");
}

async function show() {
  followTheme();
  const answer = await fetch("/v1/openapi.json").catch(() => null);
  if (answer?.status === 401) {
    say("This service asks for an API key, for its documentation too.", "/login?next=/docs", "Log in");
    return;
  }
  if (!answer?.ok) {
    say(
      answer ? `The service answered with status ${answer.status}.` : "The service does not answer.",
      "/docs",
      "Try again",
    );
    return;
  }
  /** @type {any} */ (window).SwaggerUIBundle({
    spec: await answer.json(),
    domNode: place,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    filter: true,
    validatorUrl: null,
    // of its themes the one whose colours can be read on both grounds
    syntaxHighlight: { theme: "obsidian" },
  });
}

new MutationObserver(letExamplesScroll).observe(place, { childList: true, subtree: true });
void show();
