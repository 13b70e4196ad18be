// What happened in a run: its failure in its own words, its events as they happen, and the log of its driver.
import { html, useEffect, useState } from "../../ui.js";
import { fetchJson, runEndpoint, useRequest } from "../../data/api.js";
import { useRun } from "../../data/live-run.js";
import { count, momentInSeconds, stageName } from "../../parts/format.js";
import { Empty, Loaded } from "../../parts/states.js";
import { go, query, withQuery } from "../../router.js";
import { Warnings } from "../overview/warnings.js";

/** @typedef {import("../../data/schema.d.ts").Event} Event */
/** @typedef {import("../../data/schema.d.ts").Logs} Logs */
/** @typedef {import("../../data/schema.d.ts").RunDetails} RunDetails */

const EVENTS = 200;
const LINES = 500;

/** @param {{run: string}} props */
export function Log({ run: name }) {
  const { request, run, happened, tick } = useRun(name);
  const words = query.value.get("words") ?? "";
  return html`
    <div class="head">
      <h1>Log and events</h1>
      <p class="lead">What happened, newest first. While the run plays, new lines appear by themselves.</p>
    </div>
    <div class="filters" role="search">
      <label class="field">
        Only lines with
        <input
          type="search"
          value=${words}
          placeholder="words"
          onInput=${(/** @type {any} */ event) =>
            go(withQuery({ words: event.currentTarget.value }), { replace: true })}
        />
      </label>
    </div>
    <${Loaded} request=${request}>
      ${(/** @type {RunDetails} */ shown) => html`
        <div class="stack">
          <${Warnings} run=${shown} statistics=${[]} events=${[]} iterations=${null} />
          <${Events} run=${shown} happened=${happened} words=${words} />
          <${Lines} name=${name} tick=${run?.status === "running" ? tick : happened} words=${words} />
        </div>
      `}
    <//>
  `;
}

/** Whether a text has each of the words, in any case. @param {string} text @param {string} words */
const has = (text, words) =>
  words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.toLowerCase().includes(word));

/** @param {Event} event */
const wordsOf = (event) =>
  `${event.kind.replaceAll("_", " ")} ${event.stage ? stageName(event.stage) : ""} ${JSON.stringify(event.data)}`;

/** @param {{run: RunDetails, happened: number, words: string}} props */
function Events({ run, happened, words }) {
  const [older, setOlder] = useState(/** @type {Event[]} */ ([]));
  const request = useRequest(
    runEndpoint(run.name, "events"),
    { after: Math.max(0, run.last_event - EVENTS), limit: EVENTS },
    happened,
  );
  const newest = /** @type {{items: Event[]} | null} */ (request.data)?.items ?? [];
  const first = older[0]?.seq ?? newest[0]?.seq ?? 1;
  const all = [...older, ...newest.filter((event) => event.seq > (older[older.length - 1]?.seq ?? 0))];
  const shown = all.filter((event) => has(wordsOf(event), words)).reverse();
  const more = async () => {
    const after = Math.max(0, first - 1 - EVENTS);
    const page = await fetchJson(runEndpoint(run.name, "events"), { after, limit: first - 1 - after });
    setOlder([.../** @type {{items: Event[]}} */ (page).items, ...(older.length ? older : newest)]);
  };
  return html`
    <section class="card" aria-label="Events">
      <header>
        <h2>Events</h2>
        <span class="aside">${words ? `${count(shown.length)} of ${count(all.length)}` : count(all.length)}</span>
      </header>
      <${Loaded} request=${request}>
        ${() =>
          shown.length === 0
            ? html`<${Empty} title=${words ? "No event has these words" : "Nothing has happened yet"} />`
            : html`
              <div class="scroll log-frame" tabindex="0" role="region" aria-label="List of events">
                <table class="data events">
                  <thead>
                    <tr>
                      <th scope="col">When</th>
                      <th scope="col">What</th>
                      <th scope="col">Where</th>
                      <th scope="col">Details</th>
                    </tr>
                  </thead>
                  <tbody>
                    ${shown.map(
                      (event) => html`
                        <tr key=${event.seq}>
                          <td class="soft nowrap">${momentInSeconds(event.at)}</td>
                          <td class="nowrap">${event.kind.replaceAll("_", " ")}</td>
                          <td class="soft nowrap">
                            ${event.iteration === null ? "" : `iteration ${event.iteration}`}
                            ${event.stage ? ` · ${stageName(event.stage)}` : ""}
                          </td>
                          <td class="details"><${Details} data=${event.data} /></td>
                        </tr>
                      `,
                    )}
                  </tbody>
                </table>
              </div>
            `}
      <//>
      ${first > 1 && html`<p><button type="button" class="button" onClick=${more}>Earlier events</button></p>`}
    </section>
  `;
}

/** A value of an event; counts by reason as "no gap 4, too few responses 9". @param {unknown} value */
function inWords(value) {
  if (typeof value === "string") return value;
  const counts = value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : null;
  if (!counts || counts.some(([, each]) => typeof each !== "number")) return JSON.stringify(value);
  return counts.map(([name, each]) => `${name.replaceAll("_", " ")} ${each}`).join(", ") || "none";
}

/** @param {{data: Record<string, any>}} props */
const Details = ({ data }) =>
  Object.entries(data).map(
    ([name, value]) => html`
      <div key=${name}>
        <span class="soft">${name.replaceAll("_", " ")}:</span>${" "}${inWords(value)}
      </div>
    `,
  );

/** @param {{name: string, tick: number, words: string}} props */
function Lines({ name, tick, words }) {
  const file = query.value.get("file");
  const [wrapped, setWrapped] = useState(true);
  const request = useRequest(runEndpoint(name, "logs"), { name: file, lines: LINES }, tick);
  const log = /** @type {Logs | null} */ (request.data);
  const lines = (log?.lines ?? []).filter((line) => has(line, words));
  // the newest line is below, as in a terminal: stay there while new ones come
  useEffect(() => {
    const frame = document.querySelector("#log-lines");
    if (frame) frame.scrollTop = frame.scrollHeight;
  }, [log?.end, words]);
  return html`
    <section class="card" aria-label="Log">
      <header>
        <h2>Log</h2>
        <span class="aside">
          ${
            log && log.files.length > 1
              ? html`
                <label class="field">
                  File
                  <select
                    value=${log.name}
                    onChange=${(/** @type {any} */ event) => go(withQuery({ file: event.currentTarget.value }))}
                  >
                    ${log.files.map(
                      (each) => html`
                        <option key=${each.name} value=${each.name} selected=${each.name === log.name}>
                          ${each.name}
                        </option>
                      `,
                    )}
                  </select>
                </label>
              `
              : (log?.name ?? "")
          }
        </span>
        ${
          log &&
          log.files.length > 0 &&
          html`
            <p>
              ${words ? `${count(lines.length)} of the last` : "The last"} ${count(log.lines.length)} lines, the newest
              below.
              <label class="check">
                <input type="checkbox" checked=${wrapped} onChange=${() => setWrapped(!wrapped)} />wrap long lines
              </label>
            </p>
          `
        }
      </header>
      <${Loaded} request=${request}>
        ${() =>
          log && log.files.length
            ? html`
              <pre class=${wrapped ? "text log-frame" : "text log-frame unwrapped"} id="log-lines" tabindex="0">
                ${lines.join("\n")}
              </pre>
            `
            : html`
              <${Empty} title="This machine has no log of the run">
                The machine that plays it keeps the log: run <code>eva logs ${name}</code> there.
              <//>
            `}
      <//>
    </section>
  `;
}
