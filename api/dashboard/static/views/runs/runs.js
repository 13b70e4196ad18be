// The list of runs: their state, progress and curves.
import { html, useEffect, useState } from "../../ui.js";
import { Spark } from "../../charts/plot.js";
import { runEndpoint, useRequest } from "../../data/api.js";
import { Dialog } from "../../parts/dialog.js";
import { count, duration, figure } from "../../parts/format.js";
import { TimeAgo, Bar, Status } from "../../parts/labels.js";
import { Outcome } from "../../parts/outcome.js";
import { Empty, Loaded } from "../../parts/states.js";
import { go, Link, query, runPath, withQuery } from "../../router.js";
import { comparePath } from "./compare.js";
import { Controls } from "./controls.js";

/** @typedef {import("../../data/schema.d.ts").Run} Run */
/** @typedef {import("../../data/schema.d.ts").RunPage} RunPage */
/** @typedef {import("../../data/schema.d.ts").Curves} Curves */

const STATUSES = ["created", "queued", "running", "interrupted", "paused", "finished", "failed", "cancelled"];
const AGAIN_S = 5;

export function Runs() {
  const filters = {
    status: query.value.get("status"),
    name: query.value.get("name"),
    tag: query.value.get("tag"),
    deleted: query.value.get("deleted"),
    cursor: query.value.get("cursor"),
  };
  const [tick, setTick] = useState(0);
  const runs = useRequest("/v1/runs", { ...filters, limit: 50 }, tick);
  const items = /** @type {RunPage | null} */ (runs.data)?.items ?? [];
  const names = items.filter((run) => run.iteration > 0 || run.status === "running").map((run) => run.name);
  const curves = useRequest(
    names.length ? "/v1/curves" : null,
    { run: names },
    items.map((run) => run.last_event).join(),
  );
  const playing = items.some((run) => ["running", "queued"].includes(run.status));
  const [managed, setManaged] = useState(/** @type {string | null} */ (null));
  const chosen = items.find((run) => run.name === managed);
  const gone = managed !== null && runs.data !== null && !chosen && !runs.loading;
  useEffect(() => {
    if (gone) setManaged(null);
  }, [gone]);
  const changed = (/** @type {string} */ name) => {
    setManaged((old) => old && name);
    setTick((n) => n + 1);
  };
  useEffect(() => {
    if (!playing) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) setTick((n) => n + 1);
    }, AGAIN_S * 1000);
    return () => clearInterval(timer);
  }, [playing]);
  const filtered = Boolean(filters.status || filters.name || filters.tag);

  return html`
    <div class="head">
      <h1>Runs</h1>
      <span class="spring" />
      <${Link} class="button" to="/studies">Studies<//>
      <${Link} class="button first" to="/launch">Launch a run<//>
      <p class="lead">
        In each run one model plays against itself: a creator writes prompts, and the solver learns from its own best
        and worst responses to them.
      </p>
    </div>
    <div class="filters" role="search">
      <label class="field">
        Name<input type="search" value=${filters.name ?? ""} placeholder="any" onChange=${setFilter("name")} />
      </label>
      <label class="field">
        Status
        <select value=${filters.status ?? ""} onChange=${setFilter("status")}>
          <option value="">any</option>
          ${STATUSES.map((status) => html`<option key=${status} value=${status}>${status}</option>`)}
        </select>
      </label>
      <label class="field">
        Tag<input type="search" value=${filters.tag ?? ""} placeholder="any" onChange=${setFilter("tag")} />
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked=${Boolean(filters.deleted)}
          onChange=${(/** @type {any} */ event) =>
            go(withQuery({ deleted: event.currentTarget.checked ? "true" : null, cursor: null }))}
        />Show deleted runs
      </label>
    </div>
    ${
      chosen &&
      html`
        <${Dialog} title=${chosen.name} close=${() => setManaged(null)}>
          <p>
            <${Status} status=${chosen.status} /> ${chosen.deleted_at && html`<span class="status">deleted</span>`}
            <span class="soft">${count(chosen.iteration)} of ${count(chosen.iterations)} iterations</span>
          </p>
          <${Controls} run=${chosen} changed=${changed} />
        <//>
      `
    }
    <${Loaded} request=${runs}>
      ${(/** @type {RunPage} */ page) =>
        page.items.length === 0
          ? html`
            <div class="card">
              ${
                filtered
                  ? html`<${Empty} title="No run matches these filters"><${Link} to="/">Show all runs<//><//>`
                  : html`
                    <${Empty} title="No runs yet">
                      <${Link} to="/launch">Launch one here<//>, play a small one in minutes with <code>eva demo</code>,
                      or your own with <code>eva run FILE</code>.
                    <//>
                  `
              }
            </div>
          `
          : html`<${List} page=${page} curves=${/** @type {Curves | null} */ (curves.data)} manage=${setManaged} />`}
    <//>
  `;
}

/** @param {string} name */
const setFilter = (name) => (/** @type {Event} */ event) =>
  go(withQuery({ [name]: /** @type {HTMLInputElement} */ (event.currentTarget).value, cursor: null }));

/** @param {{page: RunPage, curves: Curves | null, manage: (name: string) => void}} props */
function List({ page, curves, manage }) {
  const [marked, setMarked] = useState(/** @type {string[]} */ ([]));
  const mark = (/** @type {string} */ name) =>
    setMarked(marked.includes(name) ? marked.filter((other) => other !== name) : [...marked, name]);
  const pointsByRun = new Map((curves?.items ?? []).map((curve) => [curve.run, curve.points]));
  return html`
    <div class="card flush">
      <div class="scroll" tabindex="0" role="region" aria-label="Runs">
        <table class="data runs">
          <thead>
            <tr>
              <th scope="col"><span class="hidden-but-read">Compare</span></th>
              <th scope="col">Run</th>
              <th scope="col">Status</th>
              <th scope="col">Held-out</th>
              <th scope="col">Progress</th>
              <th scope="col">Reward of the batch</th>
              <th scope="col">Regret (info)</th>
              <th scope="col" class="number">Prompts</th>
              <th scope="col">Created</th>
              <th scope="col"><span class="hidden-but-read">Manage</span></th>
            </tr>
          </thead>
          <tbody>
            ${page.items.map(
              (run) => html`
                <${Row}
                  key=${run.name}
                  run=${run}
                  points=${pointsByRun.get(run.name) ?? []}
                  marked=${marked.includes(run.name)}
                  mark=${mark}
                  manage=${manage}
                />
              `,
            )}
          </tbody>
        </table>
      </div>
    </div>
    ${
      (page.next || query.value.get("cursor") || marked.length > 0) &&
      html`
        <p class="buttons pager">
          ${
            marked.length > 0 &&
            html`
              <button
                class="button first"
                disabled=${marked.length < 2 || marked.length > 6}
                onClick=${() => go(comparePath(marked))}
              >
                ${
                  marked.length < 2
                    ? "Select another run to compare"
                    : marked.length > 6
                      ? "Select at most 6 runs"
                      : `Compare ${marked.length} runs`
                }
              </button>
            `
          }
          ${query.value.get("cursor") && html`<${Link} class="button" to=${withQuery({ cursor: null })}>Newest<//>`}
          ${page.next && html`<${Link} class="button" to=${withQuery({ cursor: page.next })}>Older<//>`}
        </p>
      `
    }
  `;
}

/**
 * @param {{run: Run, points: import("../../data/schema.d.ts").Point[], marked: boolean, mark: (name: string) => void,
 *   manage: (name: string) => void}} props
 */
function Row({ run, points, marked, mark, manage }) {
  const stage = run.stage;
  const share = (run.iteration + (stage && stage.total ? 0.5 * (stage.done / stage.total) : 0)) / run.iterations;
  return html`
    <tr>
      <td class="mark-cell">
        <input type="checkbox" aria-label=${`Compare ${run.name}`} checked=${marked} onChange=${() => mark(run.name)} />
      </td>
      <td>
        <${Link} to=${runPath(run.name)}><strong>${run.name}</strong><//>
        ${run.note && html`<div class="soft small note">${run.note}</div>`}
        ${
          run.tags.length > 0 &&
          html`
            <div class="tags">
              ${run.tags.map((tag) => html`<span class="tag" key=${tag} title=${tag}>${tag}</span> `)}
            </div>
          `
        }
      </td>
      <td>
        <${Status} status=${run.status} />
        ${run.deleted_at && html` <span class="status">deleted</span>`}
        ${
          run.status === "failed" &&
          run.error &&
          html`<div class="small soft note" title=${run.error}>${run.error}</div>`
        }
      </td>
      <td><${Outcome} sets=${run.outcome} /></td>
      <td class="progress">
        <${Bar}
          share=${run.status === "finished" ? 1 : share}
          label=${`${run.iteration} of ${run.iterations} iterations`}
        />
        <span class="small soft">
          ${count(run.iteration)} of ${count(run.iterations)}
          ${
            run.status === "running" && stage
              ? html`
                ${" "}· ${stage.name.replaceAll("_", " ")} ${
                  stage.total ? `${count(stage.done)}/${count(stage.total)}` : ""
                }<${TimeLeft} run=${run} />
              `
              : ""
          }
        </span>
      </td>
      <td><${Curve} points=${points} of="reward" hue="--c1" name="mean reward of the batch" /></td>
      <td><${Curve} points=${points} of="info" hue="--c2" name="informativeness" /></td>
      <td class="number">${count(run.prompts)}</td>
      <td class="soft"><${TimeAgo} iso=${run.created_at} /></td>
      <td>
        <button
          type="button"
          class="button bare more"
          aria-label=${`Manage ${run.name}`}
          aria-haspopup="dialog"
          onClick=${() => manage(run.name)}
        >
          ⋯
        </button>
      </td>
    </tr>
  `;
}

/** The time left in the current stage, at its rate so far. @param {{run: Run}} props */
function TimeLeft({ run }) {
  const request = useRequest(runEndpoint(run.name, "iterations"), {}, run.stage?.done ?? 0);
  const data = /** @type {import("../../data/schema.d.ts").Iterations | null} */ (request.data);
  const left = data?.items.flatMap((item) => item.stages).find((item) => item.status === "running")?.eta_s;
  return left === null || left === undefined ? null : html` · ${duration(left)} left`;
}

/** @typedef {import("../../data/schema.d.ts").Point} Point */
/** @param {{points: Point[], of: "reward" | "info", hue: string, name: string}} props */
function Curve({ points, of, hue, name }) {
  const values = points.map((point) => point[of]);
  const last = values[values.length - 1];
  if (last === undefined) return html`<span class="soft">–</span>`;
  return html`
    <span class="with-spark">
      <${Spark} values=${values} hue=${hue} label=${`${name} by iteration, now ${figure(last)}`} />
      <span class="number">${figure(last)}</span>
    </span>
  `;
}
