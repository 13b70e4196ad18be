// The files of a run: its checkpoints, exports of its data, its report and its dataset card.
import { html, useEffect, useState } from "../../ui.js";
import { ApiError, runEndpoint, send, useRequest } from "../../data/api.js";
import { bytes, count, figure, moment } from "../../parts/format.js";
import { Copied } from "../../parts/labels.js";
import { Empty, ErrorNotice, Loaded } from "../../parts/states.js";
import { readOnly } from "../../session.js";

/** @typedef {import("../../data/schema.d.ts").Checkpoint} Checkpoint */
/** @typedef {import("../../data/schema.d.ts").Export} Export */

const AGAIN_MS = 1000;
const KINDS = /** @type {[string, string][]} */ ([
  ["pairs", "preference pairs, as TRL trains on them"],
  ["prompts", "prompts with their lineage"],
  ["responses", "responses with their rewards"],
  ["judged", "pools and batches with informativeness"],
  ["heldout", "held-out responses of each policy"],
  ["rollouts", "responses with their sampled tokens"],
]);

/** @param {{run: string}} props */
export const Files = ({ run }) => html`
  <div class="head">
    <h1>Files</h1>
    <p class="lead">What the run has made, to use elsewhere.</p>
  </div>
  <div class="stack">
    <${Checkpoints} run=${run} />
    <${ExportList} run=${run} />
    <section class="card" aria-label="Report">
      <header>
        <h2>Report</h2>
        <p>The run as one HTML page that opens from disk, and the dataset card for its exports.</p>
      </header>
      <p class="buttons">
        <a class="button" href=${runEndpoint(run, "report")} download>Report (HTML)</a>
        <a class="button" href=${runEndpoint(run, "card")} download=${`${run}-README.md`}>Dataset card (Markdown)</a>
      </p>
    </section>
  </div>
`;

/** @param {{run: string}} props */
function Checkpoints({ run }) {
  const request = useRequest(runEndpoint(run, "checkpoints"));
  return html`
    <section class="card" aria-label="Checkpoints">
      <header>
        <h2>Checkpoints</h2>
        <p>
          The weights of each policy, in the Hugging Face layout, in a folder below the data directory of the machine
          that plays the run. The commands work there. A download is a tar archive with the folder; its manifest.json,
          whose digest is listed, has the digest of every file.
        </p>
      </header>
      <${Loaded} request=${request}>
        ${(/** @type {{items: Checkpoint[]}} */ { items }) =>
          items.length === 0
            ? html`<${Empty} title="No policy has been stored yet" />`
            : html`
              <div class="scroll" tabindex="0" role="region" aria-label="List of checkpoints">
                <table class="data">
                  <thead>
                    <tr>
                      <th scope="col" class="number">Policy</th>
                      <th scope="col">Made</th>
                      <th scope="col" class="number">Loss</th>
                      <th scope="col" class="number">Size</th>
                      <th scope="col">Folder</th>
                      <th scope="col">SHA-256 of the manifest</th>
                      <th scope="col">Download</th>
                      <th scope="col">Serve it</th>
                    </tr>
                  </thead>
                  <tbody>
                    ${items.map(
                      (checkpoint) => html`<${Row} key=${checkpoint.number} run=${run} checkpoint=${checkpoint} />`,
                    )}
                  </tbody>
                </table>
              </div>
            `}
      <//>
    </section>
  `;
}

/** @param {{run: string, checkpoint: Checkpoint}} props */
function Row({ run, checkpoint }) {
  const { number, folder, digest } = checkpoint;
  const gone = checkpoint.pruned_at !== null;
  return html`
    <tr>
      <td class="number">${number}</td>
      <td class="soft nowrap">
        ${number === 0 ? "initial model" : `iteration ${checkpoint.iteration}, ${moment(checkpoint.created_at)}`}
      </td>
      <td class="number">${figure(checkpoint.loss)}</td>
      <td class="number nowrap">${gone ? "deleted" : bytes(checkpoint.bytes)}</td>
      <td>
        ${
          gone
            ? html`<span class="soft">no run needed it</span>`
            : folder === null
              ? html`<span class="soft">where the model came from</span>`
              : html`<${Copied} text=${folder} />`
        }
      </td>
      <td><${Copied} text=${digest} short=${digest.slice(0, 12)} /></td>
      <td>
        ${
          !gone &&
          folder !== null &&
          checkpoint.bytes !== null &&
          html`
            <a href=${runEndpoint(run, "checkpoints", number, "archive")} download>${run}-${number}.tar</a>
          `
        }
      </td>
      <td>${!gone && html`<${Copied} text=${`eva checkpoints serve ${run} --checkpoint ${number}`} />`}</td>
    </tr>
  `;
}

/** @param {{run: string}} props */
function ExportList({ run }) {
  const [tick, setTick] = useState(0);
  const [kind, setKind] = useState("pairs");
  const [format, setFormat] = useState("jsonl");
  const [error, setError] = useState(/** @type {ApiError | null} */ (null));
  const request = useRequest(runEndpoint(run, "exports"), {}, tick);
  const items = /** @type {{items: Export[]} | null} */ (request.data)?.items ?? [];
  const busy = items.some((each) => each.status === "waiting" || each.status === "running");
  useEffect(() => {
    if (!busy) return undefined;
    const timer = setInterval(() => setTick((n) => n + 1), AGAIN_MS);
    return () => clearInterval(timer);
  }, [busy]);
  const make = async (/** @type {globalThis.Event} */ event) => {
    event.preventDefault();
    try {
      await send("POST", runEndpoint(run, "exports"), { kind, format });
      setError(null);
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      setError(failure);
    }
    setTick((n) => n + 1);
  };
  const why = readOnly();
  return html`
    <section class="card" aria-label="Exports">
      <header>
        <h2>Exports</h2>
        <p>Files with the data of the run. They are written in the background and removed after 7 days.</p>
      </header>
      <form class="filters" onSubmit=${make}>
        <label class="field">
          What
          <select value=${kind} onChange=${(/** @type {any} */ event) => setKind(event.currentTarget.value)}>
            ${KINDS.map(([name, holds]) => html`<option key=${name} value=${name}>${name}: ${holds}</option>`)}
          </select>
        </label>
        <label class="field">
          Format
          <select value=${format} onChange=${(/** @type {any} */ event) => setFormat(event.currentTarget.value)}>
            <option value="jsonl">JSON Lines</option>
            <option value="parquet">Parquet</option>
          </select>
        </label>
        <button class="button first" disabled=${why !== null} title=${why ?? undefined}>Write the file</button>
      </form>
      ${error && html`<${ErrorNotice} error=${error} />`}
      <${Loaded} request=${request}>
        ${() =>
          items.length > 0 &&
          html`
            <div class="scroll" tabindex="0" role="region" aria-label="List of exports">
              <table class="data">
                <thead>
                  <tr>
                    <th scope="col">File</th>
                    <th scope="col">Status</th>
                    <th scope="col" class="number">Rows</th>
                    <th scope="col" class="number">Size</th>
                    <th scope="col">Removed</th>
                  </tr>
                </thead>
                <tbody>
                  ${items.map(
                    (each) => html`
                      <tr key=${each.id}>
                        <td>
                          ${
                            each.status === "done"
                              ? html`
                                <a href=${runEndpoint(run, "exports", each.id, "file")} download>
                                  ${run}-${each.kind}.${each.format}
                                </a>
                              `
                              : `${each.kind} as ${each.format}`
                          }
                        </td>
                        <td>${each.status}${each.error && html`<div class="small mistake">${each.error}</div>`}</td>
                        <td class="number">${count(each.rows)}</td>
                        <td class="number">${bytes(each.bytes)}</td>
                        <td class="soft nowrap">${moment(each.expires_at)}</td>
                      </tr>
                    `,
                  )}
                </tbody>
              </table>
            </div>
          `}
      <//>
    </section>
  `;
}
