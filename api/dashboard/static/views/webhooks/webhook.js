// The page of one webhook: what it is told, a test, its deliveries.
import { classes, html, useEffect, useState } from "../../ui.js";
import { ApiError, send, useRequest } from "../../data/api.js";
import { Confirm } from "../../parts/dialog.js";
import { count, moment, until } from "../../parts/format.js";
import { Facts, TimeAgo } from "../../parts/labels.js";
import { Empty, Loaded } from "../../parts/states.js";
import { go, Link, runPath } from "../../router.js";
import { notAdmin, settled } from "../../session.js";
import { DELIVERY_STATES, NeedsAdmin, told } from "./words.js";

/** @typedef {import("../../data/schema.d.ts").Delivery} Delivery */
/** @typedef {import("../../data/schema.d.ts").Webhook} WebhookRow */

const AGAIN_MS = 2000;
/** As many as the API returns. */
const NEWEST = 100;
/** @type {Record<Delivery["state"], string>} */
const CLASSES = { waiting: "queued", delivered: "finished", given_up: "failed" };

/** @param {{name: string}} props */
export function Webhook({ name }) {
  const [tick, setTick] = useState(0);
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [message, setMessage] = useState({ text: "", bad: false });
  const why = notAdmin();
  const endpoint = `/v1/webhooks/${encodeURIComponent(name)}`;
  const allowed = settled.value && !why;
  const all = useRequest(allowed ? "/v1/webhooks" : null, {}, tick);
  const deliveries = useRequest(allowed ? `${endpoint}/deliveries` : null, {}, tick);
  const webhook = /** @type {{items: WebhookRow[]} | null} */ (all.data)?.items.find((each) => each.name === name);
  const items = /** @type {{items: Delivery[]} | null} */ (deliveries.data)?.items ?? [];
  const waiting = items.some((each) => each.state === "waiting");
  const again = () => setTick((n) => n + 1);
  useEffect(() => {
    if (!waiting) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) again();
    }, AGAIN_MS);
    return () => clearInterval(timer);
  }, [waiting]);
  const act = async (/** @type {string} */ method, /** @type {string} */ path, /** @type {() => void} */ done) => {
    setBusy(true);
    try {
      await send(method, path);
      done();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setMessage({ text: error.problem.detail, bad: true });
    }
    setBusy(false);
    setAsking(false);
  };
  const test = () => {
    setMessage({ text: "The test is on its way; its line below says how it went.", bad: false });
    again();
  };
  return html`
    <div class="head">
      <h1>${name}</h1>
      <span class="spring" />
      ${
        webhook &&
        html`
          <button class="button first" disabled=${busy} onClick=${() => void act("POST", `${endpoint}:test`, test)}>
            Send a test
          </button>
          <button class="button careful" onClick=${() => setAsking(true)}>Delete</button>
        `
      }
      <p class="lead"><${Link} to="/webhooks">All webhooks<//></p>
    </div>
    <p class=${classes("said small", message.bad ? "mistake" : "soft")} role="status">${message.text}</p>
    ${
      asking &&
      html`
        <${Confirm}
          title=${`Delete the webhook ${name}?`}
          yes="Delete the webhook"
          busy=${busy}
          close=${() => setAsking(false)}
          go=${() => void act("DELETE", endpoint, () => go("/webhooks"))}
        >
          <p>
            Messages that wait are not sent. Its secret is gone for good: a webhook that is added again gets another.
          </p>
        <//>
      `
    }
    ${
      why
        ? html`<${NeedsAdmin} why=${why} />`
        : html`
          <${Loaded} request=${deliveries}>
            ${() => html`
              <div class="stack">
                ${webhook && html`<${Summary} webhook=${webhook} />`}
                <${Deliveries} items=${items} />
              </div>
            `}
          <//>
        `
    }
  `;
}

/** @param {{webhook: WebhookRow}} props */
const Summary = ({ webhook }) => html`
  <section class="card" aria-label="What it is told">
    <${Facts}
      facts=${[
        ["Told of", told(webhook)],
        [webhook.form === "slack" ? "Address, in Slack's form" : "Address, as JSON", html`<code>${webhook.url}</code>`],
        ["Waiting", count(webhook.waiting)],
        ["Accepted in 7 days", count(webhook.delivered)],
        ["Given up in 7 days", count(webhook.given_up)],
        ["Added", html`<${TimeAgo} iso=${webhook.created_at} />`],
      ]}
    />
  </section>
`;

/** @param {{items: Delivery[]}} props */
const Deliveries = ({ items }) =>
  items.length
    ? html`
      <div class="card flush">
        <div class="scroll" tabindex="0" role="region" aria-label="Deliveries">
          <table class="data events">
            <thead>
              <tr>
                <th scope="col">State</th>
                <th scope="col">Of</th>
                <th scope="col">Run</th>
                <th scope="col">Happened</th>
                <th scope="col" class="number">Attempts</th>
                <th scope="col">Last response</th>
                <th scope="col">Next attempt</th>
              </tr>
            </thead>
            <tbody>${items.map((delivery) => html`<${Row} key=${delivery.id} delivery=${delivery} />`)}</tbody>
          </table>
        </div>
      </div>
      ${items.length >= NEWEST && html`<p class="soft small">These are the newest ${NEWEST} deliveries.</p>`}
    `
    : html`
      <div class="card">
        <${Empty} title="Nothing was sent yet">
          Send a test, or wait for a run. <code>eva serve</code> sends the messages of all runs of its database.
        <//>
      </div>
    `;

/** @param {{delivery: Delivery}} props */
const Row = ({ delivery }) => html`
  <tr>
    <td><span class=${classes("status", CLASSES[delivery.state])}>${DELIVERY_STATES[delivery.state]}</span></td>
    <td>${delivery.topic}</td>
    <td>
      ${
        delivery.run
          ? html`<${Link} to=${runPath(delivery.run)}>${delivery.run}<//>`
          : html`<span class="soft">–</span>`
      }
    </td>
    <td class="soft nowrap"><${TimeAgo} iso=${delivery.created_at} /></td>
    <td class="number">${count(delivery.attempts)}</td>
    <td class="details">${delivery.error ?? (delivery.status === null ? "none yet" : `status ${delivery.status}`)}</td>
    <td class="soft nowrap">
      ${
        delivery.next_at
          ? html`<time datetime=${delivery.next_at} title=${moment(delivery.next_at)}>${until(delivery.next_at)}</time>`
          : "–"
      }
    </td>
  </tr>
`;
