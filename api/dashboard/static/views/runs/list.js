// The table of runs: sorted by the server, with columns of choice, and marks for what to do with several at once.
import { html } from "../../ui.js";
import { Status } from "../../parts/labels.js";
import { Sorted } from "../../parts/sorted.js";
import { Link, runPath, withQuery } from "../../router.js";
import { columnsOf } from "./columns.js";

/** @typedef {import("../../data/schema.d.ts").Run} Run */
/** @typedef {import("../../data/schema.d.ts").Curves} Curves */
/** @typedef {import("./columns.js").Column} Column */

/**
 * @param {{runs: Run[], curves: Curves | null, columns: string[], sort: string, marked: string[],
 *   mark: (names: string[]) => void, manage: (name: string) => void}} props
 */
export function List({ runs, curves, columns, sort, marked, mark, manage }) {
  const shown = columnsOf(columns, runs);
  const pointsByRun = new Map((curves?.items ?? []).map((curve) => [curve.run, curve.points]));
  const names = runs.map((run) => run.name);
  const all = names.every((name) => marked.includes(name));
  const others = marked.filter((name) => !names.includes(name));
  return html`
    <div class="card flush">
      <div class="scroll" tabindex="0" role="region" aria-label="Runs">
        <table class="data runs">
          <thead>
            <tr>
              <th scope="col" class="mark-cell">
                <input
                  type="checkbox"
                  aria-label="Select all runs of this page"
                  checked=${all}
                  onChange=${() => mark(all ? others : [...others, ...names])}
                />
              </th>
              <${Sorted} name="name" title="Run" sort=${sort} first="name" />
              ${shown.map(
                (column) => html`
                  <${Sorted}
                    key=${column.name}
                    column=${column.name}
                    name=${column.sort}
                    title=${column.title}
                    sort=${sort}
                    first=${column.first}
                    number=${column.number}
                    hint=${column.hint}
                  />
                `,
              )}
              <th scope="col"><span class="hidden-but-read">Manage</span></th>
            </tr>
          </thead>
          <tbody>
            ${runs.map(
              (run) => html`
                <tr key=${run.name}>
                  <td class="mark-cell">
                    <input
                      type="checkbox"
                      aria-label=${`Select ${run.name}`}
                      checked=${marked.includes(run.name)}
                      onChange=${() =>
                        mark(
                          marked.includes(run.name)
                            ? marked.filter((other) => other !== run.name)
                            : [...marked, run.name],
                        )}
                    />
                  </td>
                  <td class="run-cell"><${Name} run=${run} status=${columns.includes("status")} /></td>
                  ${shown.map(
                    (column) => html`
                      <td key=${column.name} data-column=${column.name} class=${column.number ? "number" : ""}>
                        ${column.cell(run, pointsByRun.get(run.name) ?? [])}
                      </td>
                    `,
                  )}
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
              `,
            )}
          </tbody>
        </table>
      </div>
    </div>
  `;
}

/** @param {{run: Run, status: boolean}} props */
const Name = ({ run, status }) => html`
  <${Link} class="run-name" to=${runPath(run.name)} title=${run.name}><strong>${run.name}</strong><//>
  ${
    run.forked_from &&
    html`
      <div class="soft small fork">
        ${"fork of "}<${Link} to=${runPath(run.forked_from.run)} title=${run.forked_from.run}>${run.forked_from.run}<//>
        ${` at iteration ${run.forked_from.iteration}`}
      </div>
    `
  }
  ${run.note && html`<div class="soft small note" title=${run.note}>${run.note}</div>`}
  ${status && html`<span class="on-narrow"><${Status} status=${run.status} /></span>`}
  ${
    run.tags.length > 0 &&
    html`
      <div class="tags">
        ${run.tags.map(
          (tag) => html`
            <${Link}
              key=${tag}
              class="tag"
              to=${withQuery({ tag, cursor: null, group: null })}
              title=${`Only runs with the tag ${tag}`}
            >
              ${tag}
            <//>${" "}
          `,
        )}
      </div>
    `
  }
`;
