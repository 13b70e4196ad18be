// Sends a file of prompts to the service, and names it in the config.
import { html, useEffect, useRef, useState } from "../../ui.js";
import { ApiError, fetchJson } from "../../data/api.js";
import { Dialog } from "../../parts/dialog.js";
import { count } from "../../parts/format.js";
import { ErrorNotice } from "../../parts/states.js";
import { valueAt } from "./config-fields.js";

/** @typedef {import("../../data/schema.d.ts").PromptFileUpload} PromptFileUpload */
/** @typedef {import("./draft.js").Draft} Draft */

const ENDINGS = [".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet", ".gz", ".bz2", ".xz", ".zst", ".zip"];
/** Keys of a config that say which columns of the file are which. */
const COLUMNS = ["field", "topic_field", "system_field", "skip_empty"];
/** Keys that name other sources of prompts, of which a config has one. */
const OTHERS = ["prompts.playground", "prompts.dataset"];

/** @param {{draft: Draft}} props */
export function PromptUpload({ draft }) {
  const [busy, setBusy] = useState("");
  const [error, setError] = useState(/** @type {ApiError | null} */ (null));
  const [sent, setSent] = useState(/** @type {{file: PromptFileUpload, name: string} | null} */ (null));
  const flight = useRef(/** @type {AbortController | null} */ (null));
  useEffect(() => () => flight.current?.abort(), []);
  const close = () => {
    flight.current?.abort();
    setBusy("");
    setError(null);
    setSent(null);
  };
  const send = async (/** @type {any} */ event) => {
    const file = event.currentTarget.files[0];
    event.currentTarget.value = "";
    if (!file) return;
    close();
    setBusy(file.name);
    const controller = new AbortController();
    flight.current = controller;
    const columns = Object.fromEntries(COLUMNS.map((key) => [key, valueAt(draft.values.peek(), `prompts.${key}`)]));
    try {
      const body = { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } };
      const answer = /** @type {PromptFileUpload} */ (
        await fetchJson("/v1/prompt-files", { name: file.name, ...columns }, { ...body, signal: controller.signal })
      );
      for (const key of OTHERS) if (valueAt(draft.values.peek(), key) !== undefined) draft.set(key, null);
      draft.set("prompts.path", answer.name);
      setSent({ file: answer, name: file.name });
    } catch (failure) {
      if (controller.signal.aborted) return;
      if (!(failure instanceof ApiError)) throw failure;
      setError(failure);
    }
    setBusy("");
  };
  return html`
    <label class="button file">
      Upload prompts<input type="file" class="hidden-but-read" accept=${ENDINGS.join(",")} onChange=${send} />
    </label>
    ${
      (busy || error || sent) &&
      html`
        <${Dialog} title="Prompts from a file" close=${close}>
          ${busy && html`<p class="waiting" role="status">Sending and checking ${busy}</p>`}
          ${error && html`<${ErrorNotice} error=${error} />`} ${sent && html`<${Sent} ...${sent} />`}
          <p class="buttons ends">
            <button type="button" class="button first" autofocus onClick=${close}>${busy ? "Stop" : "Done"}</button>
          </p>
        <//>
      `
    }
  `;
}

/** @param {{file: PromptFileUpload, name: string}} props */
function Sent({ file, name }) {
  const notes = [
    ...(file.repeated ? [`${count(file.repeated)} repeated rows left out`] : []),
    ...Object.entries(file.empty).map(([reason, rows]) => `${count(rows)} rows without a prompt left out: ${reason}`),
    ...Object.entries(file.joined).map(
      ([column, rows]) => `column ${column} joined to the prompt in ${count(rows)} rows`,
    ),
    ...Object.entries(file.cut).map(([what, rows]) => `${count(rows)} rows cut: ${what}`),
    ...(file.unused.length ? [`columns that are not used: ${file.unused.join(", ")}`] : []),
  ];
  return html`
    <div class="found">
      <p>
        <strong>${count(file.prompts)} prompts</strong> from ${name}. The config names them as <code
          class="upload-name"
          title=${file.name}
          >${file.name}</code
        >.
      </p>
      ${
        notes.length > 0 &&
        html`<ul class="small soft">
          ${notes.map((note) => html`<li key=${note}>${note}</li>`)}
        </ul>`
      }
      <h3>The first of them</h3>
      ${file.first.map((text, n) => html`<pre key=${n} class="text folded">${text}</pre>`)}
    </div>
  `;
}
