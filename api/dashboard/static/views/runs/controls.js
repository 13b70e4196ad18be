// What can be done with a run: what is refused says why, what cannot be taken back asks first.
import { classes, html, useState } from "../../ui.js";
import { ApiError, runEndpoint, send } from "../../data/api.js";
import { Confirm } from "../../parts/dialog.js";
import { go } from "../../router.js";
import { readOnly } from "../../session.js";
import { DetailsForm } from "./details-form.js";

/** @typedef {import("../../data/schema.d.ts").Run} Run */
/** @typedef {{name: string, title: string, why: string | null, run: () => void, grave?: boolean}} Deed */

const OVER = ["finished", "cancelled"];
const STANDING = ["created", "paused", "failed", "interrupted"];

/** Why not, in words; null where it can be done. @param {Run} run */
export function whyNot(run) {
  const read = readOnly();
  const deleted = run.deleted_at === null ? null : "The run is deleted: restore it first";
  const over = OVER.includes(run.status) ? `The run is ${run.status}` : null;
  const obeys =
    run.status === "running" && run.desired !== "run"
      ? `It was asked to ${run.desired}, and obeys at the next batch boundary`
      : null;
  const busy =
    run.status === "running"
      ? "The run plays: pause it first"
      : run.status === "queued"
        ? "The run waits for a driver: pause it first"
        : null;
  return {
    pause: read ?? over ?? obeys,
    resume: read ?? deleted ?? over,
    cancel: read ?? over ?? (run.desired === "cancel" ? obeys : null),
    fork: read ?? deleted,
    words: read,
    name: busy,
    remove: read ?? busy,
    restore: read,
  };
}

/** @type {Record<string, string>} */
const TOLD = {
  queued: "It waits for a driver.",
  paused: "It is paused.",
  cancelled: "It is cancelled.",
  running: "Asked: it obeys at the next batch boundary.",
};

/**
 * `children` stand beside the buttons.
 * @param {{run: Run, changed: (name: string) => void, children?: unknown}} props
 */
export function Controls({ run, changed, children }) {
  const [asking, setAsking] = useState(/** @type {"" | "cancel" | "delete" | "words"} */ (""));
  const [busy, setBusy] = useState(false);
  const [said, setSaid] = useState(/** @type {{text: string, bad?: boolean}} */ ({ text: "" }));
  const why = whyNot(run);
  const act = async (/** @type {string} */ method, /** @type {string} */ path, /** @type {string} */ done = "") => {
    setBusy(true);
    try {
      const answer = await send(method, path);
      setSaid({ text: done || (TOLD[/** @type {Run | null} */ (answer)?.status ?? ""] ?? "Done.") });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setSaid({ text: error.problem.detail, bad: true });
    }
    setBusy(false);
    setAsking("");
    changed(run.name);
  };
  const wish = (/** @type {string} */ verb) => () => void act("POST", `${runEndpoint(run.name)}:${verb}`);
  const stands = STANDING.includes(run.status);
  /** @type {Deed[]} */
  const deeds = [
    stands
      ? { name: "resume", title: run.status === "created" ? "Start" : "Resume", why: why.resume, run: wish("resume") }
      : { name: "pause", title: "Pause", why: why.pause, run: wish("pause") },
    { name: "fork", title: "Fork", why: why.fork, run: () => go(`/launch?fork=${encodeURIComponent(run.name)}`) },
    {
      name: "again",
      title: "New from it",
      why: readOnly(),
      run: () => go(`/launch?run=${encodeURIComponent(run.name)}`),
    },
    { name: "words", title: "Name, tags, note", why: why.words, run: () => setAsking("words") },
    { name: "cancel", title: "Cancel", why: why.cancel, run: () => setAsking("cancel"), grave: true },
    run.deleted_at === null
      ? { name: "delete", title: "Delete", why: why.remove, run: () => setAsking("delete"), grave: true }
      : {
          name: "restore",
          title: "Restore",
          why: why.restore,
          run: () => void act("POST", `${runEndpoint(run.name)}:restore`, "Lists show it again."),
        },
  ];
  return html`
    <div class="controls">
      <div class="buttons" role="group" aria-label=${`What can be done with ${run.name}`}>
        ${deeds.map(
          (deed) => html`
            <${Button}
              key=${deed.name}
              deed=${deed}
              busy=${busy}
              explain=${(/** @type {string} */ text) => setSaid({ text })}
            />
          `,
        )}
        ${children}
      </div>
      <p class=${classes("said small", said.bad ? "mistake" : "soft")} role="status">${said.text}</p>
      ${
        asking === "cancel" &&
        html`
          <${Confirm}
            title=${`Cancel ${run.name}?`}
            yes="Cancel the run"
            busy=${busy}
            close=${() => setAsking("")}
            go=${wish("cancel")}
          >
            <p>
              It ends for good at its next batch boundary: it cannot be resumed. What it has made stays, and it can be
              forked. To stop it for a while, pause it.
            </p>
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
            go=${() => void act("DELETE", runEndpoint(run.name), "Lists do not show it any more.")}
          >
            <p>
              Lists do not show it any more. Nothing of it is removed, and it can be restored: the list of runs shows
              deleted ones on demand.
            </p>
          <//>
        `
      }
      ${
        asking === "words" &&
        html`
          <${DetailsForm}
            run=${run.name}
            fixed=${why.name}
            close=${() => setAsking("")}
            saved=${(/** @type {string} */ name) => {
              setAsking("");
              setSaid({ text: "Saved." });
              changed(name);
            }}
          />
        `
      }
    </div>
  `;
}

/**
 * It can be reached by keyboard where it cannot be used, too: it says why.
 * @param {{deed: Deed, busy: boolean, explain: (text: string) => void}} props
 */
const Button = ({ deed, busy, explain }) => html`
  <button
    type="button"
    class=${classes("button", deed.grave && !deed.why && "careful")}
    title=${deed.why ?? undefined}
    aria-disabled=${deed.why || busy ? "true" : undefined}
    onClick=${() => {
      if (deed.why) explain(`${deed.title}: ${deed.why}.`);
      else if (!busy) deed.run();
    }}
  >
    ${deed.title}
    ${deed.why && html`<span class="hidden-but-read">, not now: ${deed.why}</span>`}
  </button>
`;
