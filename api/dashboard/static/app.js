// The frame of every page: the header with its tabs, and the view that the address names.
import { Component, effect, html, render, signal, useEffect } from "./ui.js";
import { Link, path, runPath } from "./router.js";
import { SignedIn, SignIn } from "./session.js";
import { withCodes } from "./hidden-characters.js";
import { later, loadAll } from "./later.js";
import { Empty } from "./parts/states.js";
import { Overview } from "./views/overview/overview.js";
import { Runs } from "./views/runs/runs.js";

// the first pages that people see come with this script; the others are loaded after it
const Compare = later(() => import("./views/compare/compare.js").then((view) => view.Compare));
const Config = later(() => import("./views/record/config.js").then((view) => view.Config));
const Evolution = later(() => import("./views/evolution/evolution.js").then((view) => view.Evolution));
const Files = later(() => import("./views/record/files.js").then((view) => view.Files));
const Launch = later(() => import("./views/launch/launch.js").then((view) => view.Launch));
const Lineage = later(() => import("./views/lineage/lineage.js").then((view) => view.Lineage));
const Log = later(() => import("./views/record/log.js").then((view) => view.Log));
const MapView = later(() => import("./views/map/map.js").then((view) => view.MapView));
const Prompt = later(() => import("./views/prompts/prompt.js").then((view) => view.Prompt));
const Prompts = later(() => import("./views/prompts/prompts.js").then((view) => view.Prompts));
const Samples = later(() => import("./views/samples/samples.js").then((view) => view.Samples));
const Studies = later(() => import("./views/studies/studies.js").then((view) => view.Studies));
const Study = later(() => import("./views/studies/studies.js").then((view) => view.Study));
const Training = later(() => import("./views/training/training.js").then((view) => view.Training));
const Webhook = later(() => import("./views/webhooks/webhook.js").then((view) => view.Webhook));
const Webhooks = later(() => import("./views/webhooks/webhooks.js").then((view) => view.Webhooks));

/** @typedef {{name: string, title: string, view: (props: any) => unknown}} Tab */

/** @type {Tab[]} */
const TABS = [
  { name: "", title: "Overview", view: Overview },
  {
    name: "prompts",
    title: "Prompts",
    view: ({ run, rest }) =>
      rest.length ? html`<${Prompt} run=${run} rest=${rest} />` : html`<${Prompts} run=${run} />`,
  },
  { name: "samples", title: "Samples", view: Samples },
  { name: "lineage", title: "Lineage", view: Lineage },
  { name: "map", title: "Map", view: MapView },
  { name: "evolution", title: "Evolution", view: Evolution },
  { name: "training", title: "Training", view: Training },
  { name: "config", title: "Config", view: Config },
  { name: "log", title: "Log", view: Log },
  { name: "files", title: "Files", view: Files },
];

const theme = signal(document.documentElement.dataset.theme ?? "");
effect(() => {
  if (theme.value) document.documentElement.dataset.theme = theme.value;
  else delete document.documentElement.dataset.theme;
});

function ThemeButton() {
  const dark = theme.value ? theme.value === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const turn = () => {
    theme.value = dark ? "light" : "dark";
    try {
      localStorage.setItem("eva-theme", theme.value);
    } catch {
      /* no storage: the choice lasts until the page is reloaded */
    }
  };
  return html`<button class="button bare" onClick=${turn}>${dark ? "Light" : "Dark"}</button>`;
}

/** Shows the error of a view that failed; the header stays usable. */
class ErrorBoundary extends Component {
  constructor() {
    super();
    this.state = { error: null };
  }

  /** @param {Error} error */
  static getDerivedStateFromError(error) {
    return { error };
  }

  render() {
    const { error } = /** @type {{error: Error | null}} */ (this.state);
    if (error)
      return html`
        <${Empty} title="This view failed">
          ${error.message}. Reload the page. If that does not help, please report it.
        <//>
      `;
    return /** @type {any} */ (this.props).children;
  }
}

/** @param {{run?: string}} props */
const NotFound = ({ run }) => html`
  <div class="head"><h1>Page not found</h1></div>
  <div class="card">
    <${Empty} title=${`There is no page ${decodeURI(location.pathname)}`}>
      <p>
        The address may have been cut off or mistyped.${" "}
        ${run && html`<${Link} to=${runPath(run)}>Overview of ${run}<//>${" or "}`}<${Link} to="/">all runs<//>
      </p>
    <//>
  </div>
`;

/** @returns {{title: string, run?: string, tab?: Tab, body: unknown}} */
function currentView() {
  const [noun, run, part = "", ...rest] = path.value;
  if (noun === undefined) return { title: "Runs", body: html`<${Runs} />` };
  if (noun === "compare") return { title: "Compare", body: html`<${Compare} />` };
  if (noun === "studies" && run === undefined) return { title: "Studies", body: html`<${Studies} />` };
  if (noun === "studies" && !part) return { title: `${run} · Study`, body: html`<${Study} name=${run} />` };
  if (noun === "webhooks" && run === undefined) return { title: "Webhooks", body: html`<${Webhooks} />` };
  if (noun === "webhooks" && !part) return { title: `${run} · Webhook`, body: html`<${Webhook} name=${run} />` };
  if (noun === "launch") return { title: "Launch", body: html`<${Launch} />` };
  const tab = TABS.find((tab) => tab.name === part);
  if (noun === "runs" && run && tab)
    return { title: `${run} · ${tab.title}`, run, tab, body: html`<${tab.view} run=${run} rest=${rest} />` };
  return { title: "Page not found", body: html`<${NotFound} run=${noun === "runs" ? run : undefined} />` };
}

function App() {
  const { title, run, tab, body } = currentView();
  document.title = withCodes(`${title} – eva`);
  // on a narrow screen the tabs scroll: bring the current one into view
  useEffect(
    () => document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }),
    [tab],
  );
  return html`
    <a class="skip" href="#main">Skip to the content</a>
    <header class="top">
      <div class="top-row">
        <${Link} to="/" class="brand"><img src="/static/icon.svg" width="22" height="22" alt="" />eva<//>
        ${
          run &&
          html`
            <span class="crumb" title=${run}>${run}</span>
            <nav class="tabs" aria-label="Views of the run">
              ${TABS.map(
                (entry) => html`
                  <${Link}
                    key=${entry.name}
                    to=${entry.name ? runPath(run, entry.name) : runPath(run)}
                    aria-current=${entry === tab ? "page" : undefined}
                  >
                    ${entry.title}
                  <//>
                `,
              )}
            </nav>
          `
        }
        <span class="spring" />
        <${SignedIn} />
        <${ThemeButton} />
      </div>
    </header>
    <main id="main" tabindex="-1"><${ErrorBoundary} key=${path.value.slice(0, 3).join("/")}>${body}<//></main>
    <${SignIn} />
  `;
}

const root = /** @type {Element} */ (document.getElementById("app"));
root.replaceChildren();
render(html`<${App} />`, root);
loadAll();
