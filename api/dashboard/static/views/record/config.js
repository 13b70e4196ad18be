// The config of a run, and what it changes in its parent's config or in a preset.
import { html } from "../../ui.js";
import { runEndpoint, useRequest } from "../../data/api.js";
import { save } from "../../charts/figure.js";
import { Empty, Loaded } from "../../parts/states.js";
import { go, Link, query, withQuery } from "../../router.js";

/** @typedef {import("../../data/schema.d.ts").RunConfigText} RunConfigText */

/** @param {{run: string}} props */
export function Config({ run }) {
  const request = useRequest(runEndpoint(run, "config"), { against: query.value.get("against") });
  return html`
    <div class="head">
      <h1>Config</h1>
      <span class="spring" />
      <${Link} class="button" to=${`/launch?run=${encodeURIComponent(run)}`}>New from this<//>
      <p class="lead">What was decided before the run began, or at a later resume.</p>
    </div>
    <${Loaded} request=${request}>
      ${(/** @type {RunConfigText} */ config) => html`
        <div class="stack">
          <${Changes} config=${config} />
          <section class="card" aria-label="Config as YAML">
            <header>
              <h2>As YAML</h2>
              <span class="aside">
                <button
                  type="button"
                  class="button bare"
                  onClick=${() => save(`${run}.yaml`, new Blob([config.text], { type: "text/yaml" }))}
                >
                  Download
                </button>
              </span>
              <p>Keys at their defaults are left out. <code>eva run ${run}.yaml</code> plays it again.</p>
            </header>
            <pre class="text">${config.text}</pre>
          </section>
        </div>
      `}
    <//>
  `;
}

/** @param {unknown} value */
const shown = (value) =>
  value === null || value === undefined ? "–" : typeof value === "string" ? value : JSON.stringify(value);

/** @param {{config: RunConfigText}} props */
const Changes = ({ config }) => html`
  <section class="card" aria-label="What differs">
    <header>
      <h2>What differs from ${config.against === "parent" ? "the run that it was forked from" : config.against}</h2>
      <span class="aside">
        <label class="field">
          Compare with
          <select
            value=${config.against}
            onChange=${(/** @type {any} */ event) => go(withQuery({ against: event.currentTarget.value }))}
          >
            ${config.choices.map(
              (name) => html`
                <option key=${name} value=${name} selected=${name === config.against}>
                  ${name === "parent" ? "the parent" : `preset ${name}`}
                </option>
              `,
            )}
          </select>
        </label>
      </span>
    </header>
    ${
      config.changes.length === 0
        ? html`<${Empty} title="Nothing differs, except the name and the seed" />`
        : html`
          <div class="scroll" tabindex="0" role="region" aria-label="Keys that differ">
            <table class="data">
              <thead>
                <tr>
                  <th scope="col">Key</th>
                  <th scope="col">${config.against === "parent" ? "Parent" : config.against}</th>
                  <th scope="col">This run</th>
                </tr>
              </thead>
              <tbody>
                ${config.changes.map(
                  (change) => html`
                    <tr key=${change.key}>
                      <td><code>${change.key}</code></td>
                      <td class="soft">${shown(change.before)}</td>
                      <td><strong>${shown(change.after)}</strong></td>
                    </tr>
                  `,
                )}
              </tbody>
            </table>
          </div>
        `
    }
  </section>
`;
