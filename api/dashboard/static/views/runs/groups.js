// Runs in groups, by tag or by a key of their config: mean success on each held-out set, with its interval over runs.
import { html } from "../../ui.js";
import { Interval, intervalScale } from "../../charts/interval.js";
import { useRequest } from "../../data/api.js";
import { count, duration, percent } from "../../parts/format.js";
import { Empty, Loaded } from "../../parts/states.js";
import { withConfig } from "./columns.js";
import { comparePath, Link, runPath, withQuery } from "../../router.js";

/** @typedef {import("../../data/schema.d.ts").RunGroups} RunGroups */
/** @typedef {import("../../data/schema.d.ts").RunGroup} RunGroup */

const SCALE = intervalScale([], { width: 150, domain: [0, 1] });
const MOST_COMPARED = 6;

/** @param {{by: string, filters: Record<string, unknown>, again: number}} props */
export function Groups({ by, filters, again }) {
  const request = useRequest("/v1/groups", { ...filters, by }, again);
  return html`
    <${Loaded} request=${request}>
      ${(/** @type {RunGroups} */ groups) =>
        groups.items.length
          ? html`<${Table} groups=${groups} by=${by} />`
          : html`<div class="card"><${Empty} title="No run matches these filters" /></div>`}
    <//>
  `;
}

/** @param {{groups: RunGroups, by: string}} props */
function Table({ groups, by }) {
  const splits = [...new Set(groups.items.flatMap((group) => group.heldout.map((mean) => mean.split)))].sort();
  return html`
    <p class="soft small above-table">
      Success of each run’s newest policy on held-out prompts (greedy): mean over the runs of a group with its 95%
      interval, on a scale from 0 to 100%. Runs that have not evaluated a second policy do not count.
    </p>
    <div class="card flush">
      <div class="scroll" tabindex="0" role="region" aria-label="Groups of runs">
        <table class="data payoff">
          <thead>
            <tr>
              <th scope="col">${by === "tag" ? "Tag" : by.replace("config.", "")}</th>
              ${splits.map((split) => html`<th key=${split} scope="col">${split}</th>`)}
              <th scope="col" class="number">Mean time</th>
              <th scope="col" class="number">Runs</th>
            </tr>
          </thead>
          <tbody>
            ${groups.items.map(
              (group) => html`
                <${Row} key=${JSON.stringify(group.value)} group=${group} by=${by} splits=${splits} />
              `,
            )}
          </tbody>
        </table>
      </div>
    </div>
    ${
      groups.truncated &&
      html`<p class="soft small">Only the newest 1,000 runs and the largest 200 groups are shown.</p>`
    }
  `;
}

/** @param {{group: RunGroup, by: string, splits: string[]}} props */
function Row({ group, by, splits }) {
  const name =
    group.value === null ? "none" : typeof group.value === "string" ? group.value : JSON.stringify(group.value);
  return html`
    <tr>
      <td>
        ${
          by === "tag" && group.value !== null
            ? html`<${Link} class="tag" to=${withQuery({ tag: group.value, group: null })} title=${name}>${name}<//>`
            : by === "tag"
              ? html`<strong class="config-value">${name}</strong>`
              : html`
                <${Link}
                  class="config-value"
                  to=${withConfig(by.replace("config.", ""), group.value === null ? "null" : name)}
                  title=${`Only runs with ${name}`}
                >
                  <strong>${name}</strong>
                <//>
              `
        }
      </td>
      ${splits.map((split) => {
        const found = group.heldout.find((mean) => mean.split === split);
        const ends =
          found && found.low !== null && found.high !== null ? ` (${bound(found.low)} to ${bound(found.high)})` : "";
        return html`
          <td key=${split}>
            ${
              found
                ? html`
                  <${Interval}
                    scale=${SCALE}
                    value=${found.mean}
                    low=${found.low === null ? null : Math.max(0, found.low)}
                    high=${found.high === null ? null : Math.min(1, found.high)}
                    label=${`${split}: ${percent(found.mean)}${ends}`}
                  />
                  <div class="small soft nowrap">${percent(found.mean)}${ends} · ${count(found.runs)}</div>
                `
                : html`<span class="soft">–</span>`
            }
          </td>
        `;
      })}
      <td class="number">${group.seconds ? duration(group.seconds) : "–"}</td>
      <td class="number">
        ${
          group.runs.length === 1
            ? html`<${Link} to=${runPath(group.runs[0])}>1<//>`
            : group.runs.length <= MOST_COMPARED
              ? html`<${Link} to=${comparePath(group.runs)} title="Compare them">${count(group.runs.length)}<//>`
              : count(group.runs.length)
        }
      </td>
    </tr>
  `;
}

/** An end of an interval of a share, which cannot leave 0 to 100%. @param {number} value */
const bound = (value) => percent(Math.min(1, Math.max(0, value)));
