// What can be done with several runs at once: compare, tag, cancel, delete. Each run is asked for on its own, and what
// was refused is said in the API's words.
import { classes, html, useState } from "../../ui.js";
import { ApiError, fetchWithTag, runEndpoint, send } from "../../data/api.js";
import { Confirm, Dialog } from "../../parts/dialog.js";
import { count } from "../../parts/format.js";
import { comparePath, go } from "../../router.js";
import { readOnly } from "../../session.js";

/** @typedef {import("../../data/schema.d.ts").RunDetails} RunDetails */
/** @typedef {(name: string) => Promise<unknown>} Act */

const MOST_COMPARED = 6;
const MOST_REFUSALS = 3;

/** @param {number} n */
const runsWord = (n) => (n === 1 ? "1 run" : `${count(n)} runs`);

/** @param {string} name @param {(tags: string[]) => string[]} change */
async function retag(name, change) {
  const { data, tag } = await fetchWithTag(runEndpoint(name));
  const before = /** @type {RunDetails} */ (data).tags;
  const tags = change(before);
  if (tags.join("\n") !== before.join("\n"))
    await send("PATCH", runEndpoint(name), { tags }, { headers: { "If-Match": tag } });
}

/** @param {{names: string[], clear: () => void, changed: () => void}} props */
export function Selection({ names, clear, changed }) {
  const [asking, setAsking] = useState(/** @type {"" | "tag" | "cancel" | "delete"} */ (""));
  const [busy, setBusy] = useState(false);
  const [message, setMessage] = useState({ text: "", bad: false });
  const [tag, setTag] = useState("");
  const why = readOnly();
  const actOnAll = async (/** @type {string} */ done, /** @type {Act} */ act) => {
    setBusy(true);
    const refused = /** @type {string[]} */ ([]);
    for (const name of names) {
      try {
        await act(name);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        refused.push(error.problem.detail);
      }
    }
    const accepted = names.length - refused.length;
    const more = refused.length > MOST_REFUSALS ? ` And ${runsWord(refused.length - MOST_REFUSALS)} more.` : "";
    setMessage({
      text:
        (accepted ? `${done} ${runsWord(accepted)}. ` : "") +
        (refused.length ? `Refused: ${refused.slice(0, MOST_REFUSALS).join(" ")}${more}` : ""),
      bad: refused.length > 0,
    });
    setBusy(false);
    setAsking("");
    changed();
  };
  const button = (
    /** @type {string} */ title,
    /** @type {() => void} */ act,
    /** @type {string | null} */ not = why,
    /** @type {string} */ kind = "",
  ) => html`
    <button
      type="button"
      class=${classes("button", kind)}
      title=${not ?? undefined}
      aria-disabled=${not || busy ? "true" : undefined}
      onClick=${() => (not ? setMessage({ text: `${title}: ${not}.`, bad: false }) : act())}
    >
      ${title}
    </button>
  `;
  const comparable =
    names.length < 2
      ? "Select another run"
      : names.length > MOST_COMPARED
        ? `Select at most ${MOST_COMPARED} runs`
        : null;
  if (!names.length)
    return message.text
      ? html`<p class=${classes("said small", message.bad ? "mistake" : "soft")} role="status">${message.text}</p>`
      : null;
  return html`
    <div class="selection">
      <div class="buttons" role="group" aria-label="Actions for the selected runs">
        <strong>${runsWord(names.length)} selected</strong>
        ${button("Compare", () => go(comparePath(names)), comparable, "first")}
        ${button("Tag", () => setAsking("tag"))} ${button("Cancel", () => setAsking("cancel"), why, "careful")}
        ${button("Delete", () => setAsking("delete"), why, "careful")}
        <button type="button" class="button bare" onClick=${clear}>Clear selection</button>
      </div>
      <p class=${classes("said small", message.bad ? "mistake" : "soft")} role="status">${message.text}</p>
      ${
        asking === "tag" &&
        html`
          <${Dialog} title=${`Tag ${runsWord(names.length)}`} close=${() => setAsking("")}>
            <form
              class="form"
              onSubmit=${(/** @type {Event} */ event) => {
                event.preventDefault();
                if (tag.trim())
                  void actOnAll("Tagged", (name) => retag(name, (tags) => [...new Set([...tags, tag.trim()])]));
              }}
            >
              <label class="field">
                Tag
                <input
                  value=${tag}
                  maxlength="100"
                  autofocus
                  onInput=${(/** @type {any} */ event) => setTag(event.currentTarget.value)}
                />
              </label>
              <p class="buttons ends">
                <button
                  type="button"
                  class="button"
                  disabled=${busy || !tag.trim()}
                  onClick=${() =>
                    void actOnAll("Removed it from", (name) =>
                      retag(name, (tags) => tags.filter((each) => each !== tag.trim())),
                    )}
                >
                  Remove this tag
                </button>
                <button class="button first" disabled=${busy || !tag.trim()}>Add this tag</button>
              </p>
            </form>
          <//>
        `
      }
      ${
        asking === "cancel" &&
        html`
          <${Confirm}
            title=${`Cancel ${runsWord(names.length)}?`}
            yes=${`Cancel ${runsWord(names.length)}`}
            busy=${busy}
            close=${() => setAsking("")}
            go=${() => void actOnAll("Cancelled", (name) => send("POST", `${runEndpoint(name)}:cancel`))}
          >
            <p>They end for good after their current batch and cannot be resumed. Everything they have made is kept.</p>
            <${Names} names=${names} />
          <//>
        `
      }
      ${
        asking === "delete" &&
        html`
          <${Confirm}
            title=${`Delete ${runsWord(names.length)}?`}
            yes=${`Delete ${runsWord(names.length)}`}
            busy=${busy}
            close=${() => setAsking("")}
            go=${() => void actOnAll("Deleted", (name) => send("DELETE", runEndpoint(name))).then(clear)}
          >
            <p>They disappear from the lists. Nothing is erased: “Show deleted runs” finds them, to restore them.</p>
            <${Names} names=${names} />
          <//>
        `
      }
    </div>
  `;
}

/** @param {{names: string[]}} props */
const Names = ({ names }) => html`
  <ul class="small names">${names.map((name) => html`<li key=${name}>${name}</li>`)}</ul>
`;
