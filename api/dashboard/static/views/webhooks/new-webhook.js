// The form that adds a webhook. Its secret is shown once, when it was added.
import { html, useState } from "../../ui.js";
import { ApiError, send } from "../../data/api.js";
import { Dialog } from "../../parts/dialog.js";
import { Entry, linesOf } from "../../parts/entry.js";
import { Copied } from "../../parts/labels.js";
import { ErrorNotice } from "../../parts/states.js";
import { Link } from "../../router.js";
import { webhookPath } from "./words.js";

/** @typedef {import("../../data/schema.d.ts").NewWebhook} NewWebhook */
/** @typedef {import("../../data/schema.d.ts").WebhookRequest} WebhookRequest */

const TOPICS = /** @type {[string, string][]} */ ([
  ["finished", "a run has finished"],
  ["failed", "a run has failed"],
  ["paused", "a run has paused"],
  ["warning", "something deserves a look"],
]);

/** @param {{close: () => void, added: () => void}} props */
export function NewWebhookForm({ close, added }) {
  const [made, setMade] = useState(/** @type {NewWebhook | null} */ (null));
  if (made) return html`<${Secret} made=${made} close=${close} />`;
  return html`
    <${Form}
      close=${close}
      done=${(/** @type {NewWebhook} */ webhook) => {
        setMade(webhook);
        added();
      }}
    />
  `;
}

/** @param {{close: () => void, done: (made: NewWebhook) => void}} props */
function Form({ close, done }) {
  const [error, setError] = useState(/** @type {ApiError | null} */ (null));
  const [busy, setBusy] = useState(false);
  const [topics, setTopics] = useState(TOPICS.map(([name]) => name));
  const about = (/** @type {string} */ key) =>
    error?.problem.errors?.find((problem) => problem.where.startsWith(`body.${key}`))?.expected;
  const save = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const typed = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    const text = (/** @type {string} */ name) => String(typed.get(name) ?? "").trim();
    const body = { name: text("name"), url: text("url"), form: text("form"), topics, tags: linesOf(text("tags")) };
    setBusy(true);
    try {
      done(await send("POST", "/v1/webhooks", { ...body, runs: text("runs") }));
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      setError(failure);
      setBusy(false);
    }
  };
  const placed = ["name", "url", "tags"].some(about);
  return html`
    <${Dialog} title="Add a webhook" close=${close}>
      ${error && !placed && html`<${ErrorNotice} error=${error} />`}
      <form class="form" onSubmit=${save}>
        <${Entry}
          id="webhook-name"
          label="Name"
          wrong=${about("name")}
          hint="Lower-case letters, digits, dots, dashes, underscores."
        >
          ${(/** @type {object} */ field) => html`
            <input
              ...${field}
              name="name"
              maxlength="60"
              required
              autofocus
            />
          `}
        <//>
        <${Entry}
          id="webhook-url"
          label="Address"
          wrong=${about("url")}
          hint="Public, with https://, unless the service allows its network. The path will not be shown again."
        >
          ${(/** @type {object} */ field) => html`
            <input
              ...${field}
              name="url"
              type="url"
              required
              autocomplete="off"
            />
          `}
        <//>
        <label class="field">
          What the receiver takes
          <select name="form">
            <option value="json">the whole message as JSON</option>
            <option value="slack">a sentence, as an incoming webhook of Slack takes it</option>
          </select>
        </label>
        <fieldset class="policies">
          <legend>It is told that</legend>
          ${TOPICS.map(
            ([name, title]) => html`
              <label class="check" key=${name}>
                <input
                  type="checkbox"
                  checked=${topics.includes(name)}
                  onChange=${() =>
                    setTopics(topics.includes(name) ? topics.filter((other) => other !== name) : [...topics, name])}
                />${title}
              </label>
            `,
          )}
        </fieldset>
        <label class="field">
          Of which runs
          <select name="runs">
            <option value="all">of all, or of those with a tag below</option>
            <option value="named">only of runs whose config names it (key webhooks)</option>
          </select>
        </label>
        <${Entry}
          id="webhook-tags"
          label="Tags"
          wrong=${about("tags")}
          hint="One per line; a run needs one of them. Empty: any."
        >
          ${(/** @type {object} */ field) => html`
            <textarea
              ...${field}
              name="tags"
              rows="2"
            />
          `}
        <//>
        <p class="buttons ends">
          <button type="button" class="button" onClick=${close}>Cancel</button>
          <button class="button first" disabled=${busy || !topics.length}>Add</button>
        </p>
      </form>
    <//>
  `;
}

/** @param {{made: NewWebhook, close: () => void}} props */
const Secret = ({ made, close }) => html`
  <${Dialog} title=${`${made.name} is added`} close=${close}>
    <div class="dialog-text">
      <p>This secret signs its messages. It will not be shown again: give it to the receiver now.</p>
      <p class="secret"><${Copied} text=${made.secret} /></p>
    </div>
    <p class="buttons ends">
      <${Link} class="button" to=${webhookPath(made.name)}>Open it, to send a test<//>
      <button type="button" class="button first" onClick=${close}>I have it</button>
    </p>
  <//>
`;
