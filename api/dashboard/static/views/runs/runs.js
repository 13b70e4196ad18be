// The list of runs: filters, columns and order of choice, groups, and what to do with several runs.
import { html, useEffect, useState } from "../../ui.js";
import { useRequest } from "../../data/api.js";
import { Dialog } from "../../parts/dialog.js";
import { count } from "../../parts/format.js";
import { Status } from "../../parts/labels.js";
import { Pager } from "../../parts/pager.js";
import { SearchField } from "../../parts/search-field.js";
import { Empty, Loaded } from "../../parts/states.js";
import { go, Link, query, withQuery } from "../../router.js";
import { chosenColumns, configKeys, DEFAULT_COLUMNS, FIGURES } from "./columns.js";
import { Controls } from "./controls.js";
import { Groups } from "./groups.js";
import { List } from "./list.js";
import { Selection } from "./selection.js";

/** @typedef {import("../../data/schema.d.ts").RunPage} RunPage */
/** @typedef {import("../../data/schema.d.ts").Curves} Curves */
/** @typedef {import("../../data/schema.d.ts").DifferingKeys} DifferingKeys */
/** @typedef {Record<"status" | "words" | "tag" | "deleted", string | null> & {config: string[]}} Filters */

const STATUSES = ["created", "queued", "running", "interrupted", "paused", "finished", "failed", "cancelled"];
const AGAIN_S = 5;

export function Runs() {
  const filters = {
    status: query.value.get("status"),
    words: query.value.get("words"),
    tag: query.value.get("tag"),
    config: query.value.getAll("config"),
    deleted: query.value.get("deleted"),
  };
  const columns = chosenColumns(query.value.get("columns"));
  const sort = query.value.get("sort") ?? "-created";
  const group = query.value.get("group");
  const [tick, setTick] = useState(0);
  const runs = useRequest(
    group ? null : "/v1/runs",
    { ...filters, sort, key: configKeys(columns), cursor: query.value.get("cursor"), limit: 50 },
    tick,
  );
  const items = (group ? null : /** @type {RunPage | null} */ (runs.data))?.items ?? [];
  const curved = ["reward", "info"].some((name) => columns.includes(name));
  const names = items.filter((run) => run.iteration > 0 || run.status === "running").map((run) => run.name);
  const curves = useRequest(
    curved && names.length ? "/v1/curves" : null,
    { run: names },
    items.map((run) => run.last_event).join(),
  );
  const playing = items.some((run) => ["running", "queued"].includes(run.status));
  const [marked, setMarked] = useState(/** @type {string[]} */ ([]));
  const [managed, setManaged] = useState(/** @type {string | null} */ (null));
  const chosen = items.find((run) => run.name === managed);
  const gone = managed !== null && runs.data !== null && !chosen && !runs.loading;
  useEffect(() => {
    if (gone) setManaged(null);
  }, [gone]);
  const again = () => setTick((n) => n + 1);
  useEffect(() => {
    if (!playing) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) again();
    }, AGAIN_S * 1000);
    return () => clearInterval(timer);
  }, [playing]);

  const filtered = Boolean(filters.status || filters.words || filters.tag || filters.config.length);
  return html`
    <div class="head">
      <h1>Runs</h1>
      <span class="spring" />
      <span class="buttons">
        <${Link} class="button" to="/studies">Studies<//>
        <${Link} class="button" to="/webhooks">Webhooks<//>
        <${Link} class="button first" to="/launch">Launch a run<//>
      </span>
      <p class="lead">
        In each run one model plays against itself: a creator writes prompts, and the solver learns from its own best
        and worst responses to them.
      </p>
    </div>
    <${FilterBar} filters=${filters} />
    <${TableOptions} columns=${columns} group=${group} />
    ${
      chosen &&
      html`
        <${Dialog} title=${chosen.name} close=${() => setManaged(null)}>
          <p>
            <${Status} status=${chosen.status} /> ${chosen.deleted_at && html`<span class="status">deleted</span>`}
            <span class="soft">${count(chosen.iteration)} of ${count(chosen.iterations)} iterations</span>
          </p>
          <${Controls}
            run=${chosen}
            changed=${(/** @type {string} */ name) => {
              setManaged((old) => old && name);
              again();
            }}
          />
        <//>
      `
    }
    <${Selection}
      names=${marked}
      clear=${() => setMarked([])}
      changed=${again}
    />
    ${
      group
        ? html`<${Groups} by=${group} filters=${filters} again=${tick} />`
        : html`
          <div class=${runs.loading && runs.data ? "old" : ""} aria-busy=${runs.loading && !playing}>
            <${Loaded} request=${runs}>
              ${(/** @type {RunPage} */ page) =>
                page.items.length === 0
                  ? html`<${NoRuns} filtered=${filtered} />`
                  : html`
                    <${List}
                      runs=${page.items}
                      curves=${/** @type {Curves | null} */ (curves.data)}
                      columns=${columns}
                      sort=${sort}
                      marked=${marked}
                      mark=${setMarked}
                      manage=${setManaged}
                    />
                    <${Pager} page=${page} noun="runs" />
                  `}
            <//>
          </div>
        `
    }
  `;
}

/** @param {string} name */
const setFilter = (name) => (/** @type {Event} */ event) =>
  go(withQuery({ [name]: /** @type {HTMLInputElement} */ (event.currentTarget).value, cursor: null }));

/** @param {{filters: Filters}} props */
const FilterBar = ({ filters }) => html`
  <div class="filters" role="search">
    <${SearchField}
      label="Words"
      value=${filters.words ?? ""}
      placeholder="words, or seed=42"
      search=${(/** @type {string} */ words) => go(withQuery({ words, cursor: null }))}
    />
    <label class="field">
      Status
      <select value=${filters.status ?? ""} onChange=${setFilter("status")}>
        <option value="">any</option>
        ${STATUSES.map((status) => html`<option key=${status} value=${status}>${status}</option>`)}
      </select>
    </label>
    <label class="check">
      <input
        type="checkbox"
        checked=${Boolean(filters.deleted)}
        onChange=${(/** @type {any} */ event) =>
          go(withQuery({ deleted: event.currentTarget.checked ? "true" : null, cursor: null }))}
      />Show deleted runs
    </label>
    ${
      filters.tag &&
      html`<${Chip} title="Tag" value=${filters.tag} remove=${() => go(withQuery({ tag: null, cursor: null }))} />`
    }
    ${filters.config.map(
      (condition) => html`
        <${Chip}
          key=${condition}
          title="Config"
          value=${condition}
          remove=${() => go(withQuery({ config: filters.config.filter((other) => other !== condition), cursor: null }))}
        />
      `,
    )}
  </div>
`;

/** A filter that was set by a click. @param {{title: string, value: string, remove: () => void}} props */
const Chip = ({ title, value, remove }) => html`
  <span class="buttons chip">
    <span>${title}: <strong class="config-value" title=${value}>${value}</strong></span>
    <button class="button bare" aria-label=${`Remove the filter ${title.toLowerCase()}: ${value}`} onClick=${remove}>
      ×
    </button>
  </span>
`;

/** @param {{columns: string[], group: string | null}} props */
function TableOptions({ columns, group }) {
  const [open, setOpen] = useState(false);
  return html`
    <details class="table-options" onToggle=${(/** @type {any} */ event) => setOpen(event.currentTarget.open)}>
      <summary>
        Columns and groups${
          group &&
          html`<span class="soft"> · grouped by ${group === "tag" ? group : group.replace("config.", "")}</span>`
        }
      </summary>
      ${(open || group) && html`<${Choices} columns=${columns} group=${group} />`}
    </details>
  `;
}

/** @param {{columns: string[], group: string | null}} props */
function Choices({ columns, group }) {
  const request = useRequest("/v1/groups/keys");
  const differing = /** @type {DifferingKeys | null} */ (request.data)?.items.map((item) => `config.${item.key}`) ?? [];
  const keys = [...new Set([...differing, ...columns.filter((name) => name.startsWith("config."))])];
  const all = [...FIGURES.map(([name]) => name), ...keys];
  const turn = (/** @type {string} */ name) => {
    const next = all.filter((other) => (other === name) !== columns.includes(other));
    go(withQuery({ columns: next.join(" ") === DEFAULT_COLUMNS.join(" ") ? null : next.join(" ") || " " }), {
      replace: true,
    });
  };
  const box = (/** @type {string} */ name, /** @type {string} */ title) => html`
    <label class="check" key=${name}>
      <input type="checkbox" checked=${columns.includes(name)} onChange=${() => turn(name)} />${title}
    </label>
  `;
  return html`
    <div class="choices">
      <label class="field">
        Group by
        <select
          value=${group ?? ""}
          onChange=${(/** @type {any} */ event) => go(withQuery({ group: event.currentTarget.value, cursor: null }))}
        >
          <option value="">nothing</option>
          <option value="tag" selected=${group === "tag"}>tag</option>
          ${[...new Set([...keys, ...(group && group !== "tag" ? [group] : [])])].map(
            (name) => html`
              <option key=${name} value=${name} selected=${group === name}>${name.slice("config.".length)}</option>
            `,
          )}
        </select>
      </label>
      <fieldset>
        <legend>Figures</legend>
        ${FIGURES.map(([name, title]) => box(name, title))}
      </fieldset>
      <fieldset>
        <legend>Keys of the config in which runs differ</legend>
        ${keys.map((name) => box(name, name.slice("config.".length)))}
        ${request.data !== null && !keys.length && html`<span class="soft small">All runs have the same config.</span>`}
      </fieldset>
    </div>
  `;
}

/** @param {{filtered: boolean}} props */
const NoRuns = ({ filtered }) => html`
  <div class="card">
    ${
      filtered
        ? html`<${Empty} title="No run matches these filters"><${Link} to="/">Show all runs<//><//>`
        : html`
          <${Empty} title="No runs yet">
            <${Link} to="/launch">Launch one here<//>, play a small one in minutes with <code>eva demo</code>, or your
            own with <code>eva run FILE</code>.
          <//>
        `
    }
  </div>
`;
