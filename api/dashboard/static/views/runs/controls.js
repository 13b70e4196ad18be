// The buttons that pause, resume, cancel, fork or delete a run. A disabled one says why; what cannot be undone asks
// first.
import { classes, html, useState } from "../../ui.js";
import { ApiError, runEndpoint, send } from "../../data/api.js";
import { Confirm } from "../../parts/dialog.js";
import { go } from "../../router.js";
import { readOnly } from "../../session.js";
import { DetailsForm } from "./details-form.js";

/** @typedef {import("../../data/schema.d.ts").Run | import("../../data/schema.d.ts").RunDetails} Run */
/** @typedef {{name: string, title: string, why: string | null, run: () => void, grave?: boolean}} Action */

const OVER = ["finished", "cancelled"];
const NOT_PLAYING = ["created", "paused", "failed", "interrupted"];

/** Says why an action is not possible now, for each action; null where it is. @param {Run} run */
export function whyNot(run) {
  const read = readOnly();
  const deleted = run.deleted_at === null ? null : "The run is deleted; restore it first";
  const over = OVER.includes(run.status) ? `The run is ${run.status}` : null;
  const obeys =
    run.status === "running" && run.desired !== "run"
      ? `The run has been asked to ${run.desired} and will do so after the current batch`
      : null;
  const busy =
    run.status === "running"
      ? "The run is playing; pause it first"
      : run.status === "queued"
        ? "The run is waiting for a driver; pause it first"
        : null;
  return {
    pause: read ?? over ?? obeys,
    resume: read ?? deleted ?? over,
    cancel: read ?? over,
    fork: read ?? deleted,
    details: read,
    name: busy,
    remove: read ?? busy,
    restore: read,
  };
}

/** @type {Record<string, string>} */
const OUTCOMES = {
  queued: "Queued: waiting for a driver.",
  paused: "Paused.",
  cancelled: "Cancelled.",
  running: "Accepted: takes effect after the current batch.",
};

/**
 * The buttons of one run; `children` go beside them.
 * @param {{run: Run, changed: (name: string) => void, children?: unknown}} props
 */
export function Controls({ run, changed, children }) {
  const [asking, setAsking] = useState(/** @type {"" | "cancel" | "delete" | "details"} */ (""));
  const [forced, setForced] = useState(false);
  // asked here: the page's own row of the run may be older
  const [asked, setAsked] = useState(false);
  const [busy, setBusy] = useState(false);
  const [message, setMessage] = useState(/** @type {{text: string, bad?: boolean}} */ ({ text: "" }));
  const why = whyNot(run);
  const act = async (/** @type {string} */ method, /** @type {string} */ path, /** @type {string} */ done = "") => {
    setBusy(true);
    try {
      const result = await send(method, path);
      setMessage({ text: done || (OUTCOMES[/** @type {Run | null} */ (result)?.status ?? ""] ?? "Done.") });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setMessage({ text: error.problem.detail, bad: true });
    }
    setBusy(false);
    setAsking("");
    changed(run.name);
  };
  const control = (/** @type {string} */ verb) => () => void act("POST", `${runEndpoint(run.name)}:${verb}`);
  const idle = NOT_PLAYING.includes(run.status);
  /** @type {Action[]} */
  const actions = [
    idle
      ? {
          name: "resume",
          title: run.status === "created" ? "Start" : "Resume",
          why: why.resume,
          run: control("resume"),
        }
      : { name: "pause", title: "Pause", why: why.pause, run: control("pause") },
    { name: "fork", title: "Fork", why: why.fork, run: () => go(`/launch?fork=${encodeURIComponent(run.name)}`) },
    {
      name: "again",
      title: "New from this",
      why: readOnly(),
      run: () => go(`/launch?run=${encodeURIComponent(run.name)}`),
    },
    { name: "details", title: "Name, tags, note", why: why.details, run: () => setAsking("details") },
    {
      name: "cancel",
      title: "Cancel",
      why: why.cancel,
      run: () => {
        // who asks again wants more than to ask
        setForced(run.status === "running" && (asked || run.desired === "cancel"));
        setAsking("cancel");
      },
      grave: true,
    },
    run.deleted_at === null
      ? { name: "delete", title: "Delete", why: why.remove, run: () => setAsking("delete"), grave: true }
      : {
          name: "restore",
          title: "Restore",
          why: why.restore,
          run: () => void act("POST", `${runEndpoint(run.name)}:restore`, "Restored."),
        },
  ];
  return html`
    <div class="controls">
      <div class="buttons" role="group" aria-label=${`Actions for ${run.name}`}>
        ${actions.map(
          (action) => html`
            <${Button}
              key=${action.name}
              action=${action}
              busy=${busy}
              explain=${(/** @type {string} */ text) => setMessage({ text })}
            />
          `,
        )}
        ${children}
      </div>
      <p class=${classes("said small", message.bad ? "mistake" : "soft")} role="status">${message.text}</p>
      ${
        asking === "cancel" &&
        html`
          <${Confirm}
            title=${`Cancel ${run.name}?`}
            yes="Cancel the run"
            busy=${busy}
            close=${() => setAsking("")}
            go=${() => {
              setAsked(true);
              void act("POST", `${runEndpoint(run.name)}:cancel${forced ? "?force=true" : ""}`);
            }}
          >
            <p>
              The run ends for good after the current batch and cannot be resumed. Everything it has made is kept, and
              it can be forked. To stop it for a while, pause it instead.
            </p>
            ${
              run.status === "running" &&
              html`
                <label class="check">
                  <input
                    type="checkbox"
                    checked=${forced}
                    onChange=${(/** @type {any} */ event) => setForced(event.target.checked)}
                  />
                  End its driver if it does not obey within 10 seconds, whatever it waits for
                </label>
              `
            }
          <//>
        `
      }
      ${
        asking === "delete" &&
        html`
          <${Confirm}
            title=${`Delete ${run.name}?`}
            yes="Delete the run"
            busy=${busy}
            close=${() => setAsking("")}
            go=${() => void act("DELETE", runEndpoint(run.name), "Deleted.")}
          >
            <p>
              The run disappears from the lists. Nothing is erased: tick “Show deleted runs” in the list of runs to find
              it again and restore it.
            </p>
          <//>
        `
      }
      ${
        asking === "details" &&
        html`
          <${DetailsForm}
            run=${run.name}
            fixed=${why.name}
            close=${() => setAsking("")}
            saved=${(/** @type {string} */ name) => {
              setAsking("");
              setMessage({ text: "Saved." });
              changed(name);
            }}
          />
        `
      }
    </div>
  `;
}

/**
 * Stays reachable by keyboard when it cannot be used, so that it can say why.
 * @param {{action: Action, busy: boolean, explain: (text: string) => void}} props
 */
const Button = ({ action, busy, explain }) => html`
  <button
    type="button"
    class=${classes("button", action.grave && !action.why && "careful")}
    title=${action.why ?? undefined}
    aria-disabled=${action.why || busy ? "true" : undefined}
    onClick=${() => {
      if (action.why) explain(`${action.title}: ${action.why}.`);
      else if (!busy) action.run();
    }}
  >
    ${action.title}
    ${action.why && html`<span class="hidden-but-read"> (not now: ${action.why})</span>`}
  </button>
`;
