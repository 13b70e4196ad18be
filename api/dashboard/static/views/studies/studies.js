// The list of studies, and the page of one.
import { html } from "../../ui.js";
import { useRequest } from "../../data/api.js";
import { count } from "../../parts/format.js";
import { Bar, TimeAgo } from "../../parts/labels.js";
import { Pager } from "../../parts/pager.js";
import { Empty, Loaded } from "../../parts/states.js";
import { Link, query } from "../../router.js";
import { StudyBody } from "./report.js";

/** @typedef {import("../../data/schema.d.ts").ListedStudy} ListedStudy */
/** @typedef {import("../../data/schema.d.ts").StudyPage} StudyPage */
/** @typedef {import("../../data/schema.d.ts").StudyReport} StudyReport */

const DRIVERS = { queued: "waits for its turn", taken: "starts", submitted: "is played" };

/** @param {string} name */
const studyPath = (name) => `/studies/${encodeURIComponent(name)}`;

export function Studies() {
  const request = useRequest("/v1/studies", { cursor: query.value.get("cursor") });
  return html`
    <div class="head">
      <h1>Studies</h1>
      <p class="lead">
        A study plays several arms on the same seeds and given models, and says by how much they differ and how sure
        that is.
      </p>
    </div>
    <${Loaded} request=${request}>
      ${(/** @type {StudyPage} */ page) =>
        page.items.length
          ? html`<${List} items=${page.items} /><${Pager} page=${page} noun="studies" />`
          : html`
            <div class="card">
              <${Empty} title="No studies yet">Start a small one with <code>eva study study-smoke</code>.<//>
            </div>
          `}
    <//>
  `;
}

/** @param {{items: ListedStudy[]}} props */
const List = ({ items }) => html`
  <div class="card flush">
    <div class="scroll" tabindex="0" role="region" aria-label="Studies">
      <table class="data runs">
        <thead>
          <tr>
            <th scope="col">Study</th>
            <th scope="col">Arms</th>
            <th scope="col" class="number">Seeds</th>
            <th scope="col" class="number">Given models</th>
            <th scope="col">Finished runs</th>
            <th scope="col">Outcome</th>
            <th scope="col">Started</th>
          </tr>
        </thead>
        <tbody>
          ${items.map((study) => html`<${Row} key=${study.name} study=${study} />`)}
        </tbody>
      </table>
    </div>
  </div>
`;

/** @param {{study: ListedStudy}} props */
function Row({ study }) {
  const finished = study.counts.finished ?? 0;
  const failed = study.counts.failed ?? 0;
  return html`
    <tr>
      <td>
        <${Link} to=${studyPath(study.name)}><strong>${study.name}</strong><//>
        ${study.question && html`<div class="soft small">${study.question}</div>`}
      </td>
      <td>${study.arms.join(", ")}</td>
      <td class="number">${count(study.seeds)}</td>
      <td class="number">${count(study.models)}</td>
      <td>
        <${Bar} share=${finished / study.planned} label=${`${finished} of ${study.planned} runs are finished`} />
        <span class="small soft">
          ${count(finished)} of ${count(study.planned)}${failed > 0 && `, ${count(failed)} failed`}
          ${study.driver && study.driver.state !== "ended" && ` · ${DRIVERS[study.driver.state]}`}
        </span>
        ${
          study.driver?.message &&
          html`<div class="small soft note" title=${study.driver.message}>${study.driver.message}</div>`
        }
      </td>
      <td><code>${study.figure}</code></td>
      <td class="soft"><${TimeAgo} iso=${study.created_at} /></td>
    </tr>
  `;
}

/** @param {{name: string}} props */
export function Study({ name }) {
  const endpoint = `/v1/studies/${encodeURIComponent(name)}`;
  const request = useRequest(endpoint);
  return html`
    <div class="head">
      <h1>${name}</h1>
      <span class="spring" />
      <a class="button" href=${`${endpoint}/report`} download>Save as HTML</a>
    </div>
    <${Loaded} request=${request}>
      ${(/** @type {StudyReport} */ report) => html`<${StudyBody} report=${report} />`}
    <//>
  `;
}
