// The top of the overview: the run's name, its state, key figures, and the stage it is working on.
import { html } from "../../ui.js";
import { count, dollars, duration, figure, moment, stageName } from "../../parts/format.js";
import { Bar, Facts, Status } from "../../parts/labels.js";
import { Outcome, outcomeCaption } from "../../parts/outcome.js";
import { Waiting } from "../../parts/wait.js";
import { Link, runPath } from "../../router.js";

/** @typedef {import("../../data/schema.d.ts").RunDetails} RunDetails */
/** @typedef {import("../../data/schema.d.ts").Iterations} Iterations */

/** @param {{run: RunDetails, iterations: Iterations | null, children?: unknown}} props */
export function Head({ run, iterations, children }) {
  const stages = iterations?.items.flatMap((iteration) => iteration.stages) ?? [];
  const open = stages.find((stage) => stage.status === "running");
  // what a fork shares with its parent was played there
  const own = iterations?.items.filter((iteration) => iteration.number >= (run.forked_from?.iteration ?? 0));
  const spent = own?.reduce((sum, iteration) => sum + iteration.seconds, 0);
  const done = own?.filter((iteration) => iteration.status === "done") ?? [];
  const left =
    run.status === "running" && done.length
      ? (run.iterations - run.iteration) * (done.reduce((sum, iteration) => sum + iteration.seconds, 0) / done.length)
      : null;
  /** @type {[string, unknown][]} */
  const facts = [
    ["Iterations", `${count(run.iteration)} of ${count(run.iterations)}`],
    ["Prompts", count(run.prompts)],
    ["Time spent", spent === 0 ? "none yet" : duration(spent)],
    ...(left === null
      ? []
      : /** @type {[string, unknown][]} */ ([["Time left at this pace", `about ${duration(left)}`]])),
    ...(run.tokens ? /** @type {[string, unknown][]} */ ([["Tokens generated", count(run.tokens)]]) : []),
    ...(run.steps ? /** @type {[string, unknown][]} */ ([["Optimiser steps", count(run.steps)]]) : []),
    ...(run.cost_usd ? /** @type {[string, unknown][]} */ ([["Cost of APIs", dollars(run.cost_usd)]]) : []),
    ["Started", html`<span class="moment">${moment(run.started_at)}</span>`],
    ["Seed", String(run.seed)],
    ...(run.forked_from === null
      ? []
      : /** @type {[string, unknown][]} */ ([["Forked from", html`<${Origin} of=${run.forked_from} />`]])),
  ];
  return html`
    <div class="head">
      <h1>${run.name}</h1>
      <${Status} status=${run.status} />
      ${
        run.outcome.length > 0 &&
        html`
          <span class="outcome-line">
            <${Outcome} sets=${run.outcome} />${" "}<span class="soft small">${outcomeCaption(run.outcome)}</span>
          </span>
        `
      }
      ${
        run.desired !== "run" &&
        run.status === "running" &&
        html`<span class="soft">asked to ${run.desired}, takes effect after the current batch</span>`
      }
      ${
        run.status === "queued" &&
        html`
          <span class="soft">
            ${
              run.launch?.ahead
                ? `${count(run.launch.ahead)} ahead of it`
                : (run.launch?.message ?? "next in the queue")
            }
          </span>
        `
      }
      ${run.deleted_at !== null && html`<span class="status">deleted</span>`}
      ${
        run.tags.length > 0 &&
        html`
          <span class="tags">
            ${run.tags.map((tag) => html`<span class="tag" key=${tag} title=${tag}>${tag}</span> `)}
          </span>
        `
      }
      ${run.note && html`<p class="lead">${run.note}</p>`}
      ${children}
    </div>
    <div class="card overview-head">
      <${Facts} facts=${facts} />
      ${run.wait && html`<${Waiting} wait=${run.wait} />`}
      ${
        run.status === "running" &&
        !run.wait &&
        open &&
        open.total > 0 &&
        html`
          <div class="now" aria-live="polite">
            <span>Iteration ${open.iteration}: <strong>${stageName(open.name)}</strong></span>
            <${Bar} share=${open.done / open.total} label=${`${open.done} of ${open.total}`} />
            <span class="number soft">
              ${count(open.done)} of ${count(open.total)}${open.per_second ? ` · ${figure(open.per_second)}/s` : ""}
              ${open.eta_s !== null ? ` · ${duration(open.eta_s)} left` : ""}
            </span>
          </div>
        `
      }
    </div>
  `;
}

/** @param {{of: import("../../data/schema.d.ts").ForkedFrom}} props */
const Origin = ({ of }) => html`
  <${Link} class="fork-origin" to=${runPath(of.run)} title=${of.run}>${of.run}<//> at iteration ${of.iteration}
`;
