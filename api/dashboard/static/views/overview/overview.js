// Run overview: where the run is, whether it learns, and what deserves a look.
import { html } from "../../ui.js";
import { runEndpoint, useRequest } from "../../data/api.js";
import { useRun } from "../../data/live-run.js";
import { Loaded } from "../../parts/states.js";
import { go, runPath } from "../../router.js";
import { Controls } from "../runs/controls.js";
import { Curves } from "./curves.js";
import { Head } from "./head.js";
import { Timeline } from "./timeline.js";
import { Warnings } from "./warnings.js";

/** @typedef {import("../../data/schema.d.ts").RunDetails} RunDetails */
/** @typedef {import("../../data/schema.d.ts").Iterations} Iterations */
/** @typedef {{iteration: number, name: string, data: any}} Statistic */

/** @param {{run: string}} props */
export function Overview({ run: name }) {
  const { request, run, happened, tick, again } = useRun(name);
  const iterations = useRequest(
    runEndpoint(name, "iterations"),
    {},
    `${happened} ${run?.status === "running" ? tick : 0}`,
  );
  const statistics = useRequest(
    runEndpoint(name, "statistics"),
    { name: ["batch", "heldout", "diversity", "audit"] },
    happened,
  );
  const events = useRequest(
    runEndpoint(name, "events"),
    { after: Math.max(0, (run?.last_event ?? 0) - 200), limit: 200 },
    happened,
  );
  const rows = /** @type {{items: Statistic[]} | null} */ (statistics.data)?.items ?? [];
  return html`
    ${run === null && html`<div class="head"><h1>${name}</h1></div>`}
    <${Loaded} request=${request}>
      ${(/** @type {RunDetails} */ shown) => html`
        <${Head} run=${shown} iterations=${/** @type {Iterations | null} */ (iterations.data)}>
          <${Controls}
            run=${shown}
            changed=${(/** @type {string} */ newName) => {
              if (newName === name) again();
              else go(runPath(newName), { replace: true });
            }}
          >
            <a class="button" href=${runEndpoint(name, "report")} download title="One HTML page that opens from disk">
              Report (HTML)
            </a>
          <//>
        <//>
        <div class="stack">
          <${Warnings}
            run=${shown}
            statistics=${rows}
            events=${/** @type {any} */ (events.data)?.items ?? []}
            iterations=${/** @type {Iterations | null} */ (iterations.data)}
          />
          <${Curves} rows=${rows} waiting=${statistics.data === null} run=${shown} />
          <${Loaded} request=${iterations}>
            ${(/** @type {Iterations} */ all) => html`<${Timeline} items=${all.items} name=${name} />`}
          <//>
        </div>
      `}
    <//>
  `;
}
