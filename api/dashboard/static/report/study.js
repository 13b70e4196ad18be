// The report of a study in one page: the dashboard's own parts, over the report that the page contains.
import { html, render } from "../ui.js";
import { moment } from "../parts/format.js";
import { StudyBody } from "../views/studies/report.js";

const { taken_at: takenAt, study } =
  /** @type {{taken_at: string, study: import("../data/schema.d.ts").StudyReport}} */ (
    JSON.parse(document.getElementById("facts")?.textContent ?? "null")
  );

const root = /** @type {Element} */ (document.getElementById("app"));
root.replaceChildren();
render(
  html`
    <main id="main">
      <div class="head"><h1>${study.name}</h1></div>
      <p class="soft as-of">
        As of ${moment(takenAt)}. docs/studies.md explains every figure. Every chart can be saved as PNG and CSV.
      </p>
      <${StudyBody} report=${study} />
    </main>
  `,
  root,
);
