// The form for a run's name, tags and note. It saves only over what it has shown, so that nobody's changes are lost.
import { html, useEffect, useState } from "../../ui.js";
import { ApiError, fetchWithTag, runEndpoint, send } from "../../data/api.js";
import { Dialog } from "../../parts/dialog.js";
import { Entry, linesOf } from "../../parts/entry.js";
import { Loading, ErrorNotice } from "../../parts/states.js";

/** @typedef {import("../../data/schema.d.ts").RunDetails} RunDetails */
/** @typedef {{name: string, tags: string, note: string}} Typed */

/** @param {RunDetails} run @returns {Typed} */
const detailsOf = (run) => ({ name: run.name, tags: run.tags.join("\n"), note: run.note });

/** @param {{run: string, fixed: string | null, close: () => void, saved: (name: string) => void}} props */
export function DetailsForm({ run, fixed, close, saved }) {
  const [stored, setStored] = useState(/** @type {{run: RunDetails, tag: string} | null} */ (null));
  const [typed, setTyped] = useState(/** @type {Typed | null} */ (null));
  const [error, setError] = useState(/** @type {ApiError | null} */ (null));
  const [busy, setBusy] = useState(false);
  const failed = (/** @type {unknown} */ failure) => {
    if (!(failure instanceof ApiError)) throw failure;
    setError(failure);
  };
  const look = (/** @type {boolean} */ keep) =>
    fetchWithTag(runEndpoint(run)).then(({ data, tag }) => {
      const details = /** @type {RunDetails} */ (data);
      setStored({ run: details, tag });
      if (!keep) {
        setTyped(detailsOf(details));
        setError(null);
      }
    }, failed);
  useEffect(() => {
    void look(false);
  }, []);
  const set = (/** @type {keyof Typed} */ key) => (/** @type {any} */ event) =>
    setTyped((old) => old && { ...old, [key]: event.currentTarget.value });
  const save = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!stored || !typed) return;
    const before = detailsOf(stored.run);
    const body = {
      ...(typed.name === before.name ? {} : { name: typed.name }),
      ...(typed.tags === before.tags ? {} : { tags: linesOf(typed.tags) }),
      ...(typed.note === before.note ? {} : { note: typed.note }),
    };
    setBusy(true);
    try {
      const updated = /** @type {RunDetails} */ (
        await send("PATCH", runEndpoint(run), body, { headers: { "If-Match": stored.tag } })
      );
      saved(updated.name);
    } catch (failure) {
      if (failure instanceof ApiError && failure.problem.status === 412) await look(true);
      failed(failure);
      setBusy(false);
    }
  };
  const about = (/** @type {string} */ key) =>
    error?.problem.errors?.find((problem) => problem.where.startsWith(`body.${key}`))?.expected;
  const placed = Boolean(about("name") || about("tags") || about("note"));
  const theirs = error?.problem.status === 412 && stored ? detailsOf(stored.run) : null;
  return html`
    <${Dialog} title="Name, tags and note" close=${close}>
      ${error && !placed && html`<${ErrorNotice} error=${error} />`}
      ${
        theirs &&
        html`
          <div class="notice">
            <h3>Somebody else changed them</h3>
            <p>${theirs.name}${theirs.tags && ` · ${linesOf(theirs.tags).join(", ")}`}</p>
            ${theirs.note && html`<p class="soft">${theirs.note}</p>`}
            <p class="buttons">
              <button
                type="button"
                class="button"
                onClick=${() => {
                  setTyped(theirs);
                  setError(null);
                }}
              >
                Use these
              </button>
              <span class="soft small">“Save” replaces them with yours.</span>
            </p>
          </div>
        `
      }
      ${
        typed === null
          ? !error && html`<${Loading} />`
          : html`
            <form class="form" onSubmit=${save}>
              <${Entry}
                id="details-name"
                label="Name"
                wrong=${about("name")}
                hint=${fixed ?? "Letters, digits, dots, dashes and underscores."}
              >
                ${(/** @type {object} */ field) => html`
                  <input
                    ...${field}
                    value=${typed.name}
                    maxlength="81"
                    required
                    readonly=${Boolean(fixed)}
                    onInput=${set("name")}
                  />
                `}
              <//>
              <${Entry} id="details-tags" label="Tags" wrong=${about("tags")} hint="One per line.">
                ${(/** @type {object} */ field) => html`
                  <textarea
                    ...${field}
                    rows="3"
                    value=${typed.tags}
                    onInput=${set("tags")}
                  />
                `}
              <//>
              <${Entry}
                id="details-note"
                label="Note"
                wrong=${about("note")}
                hint="Anything you want to remember about the run."
              >
                ${(/** @type {object} */ field) => html`
                  <textarea
                    ...${field}
                    rows="4"
                    maxlength="10000"
                    value=${typed.note}
                    onInput=${set("note")}
                  />
                `}
              <//>
              <p class="buttons ends">
                <button type="button" class="button" onClick=${close}>Cancel</button>
                <button class="button first" disabled=${busy}>Save</button>
              </p>
            </form>
          `
      }
    <//>
  `;
}
