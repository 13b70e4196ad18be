// The list of webhooks: what each is told, and how its deliveries went.
import { html, useState } from "../../ui.js";
import { useRequest } from "../../data/api.js";
import { count } from "../../parts/format.js";
import { TimeAgo } from "../../parts/labels.js";
import { Empty, Loaded } from "../../parts/states.js";
import { Link } from "../../router.js";
import { notAdmin, settled } from "../../session.js";
import { NewWebhookForm } from "./new-webhook.js";
import { DELIVERY_STATES, NeedsAdmin, told, webhookPath } from "./words.js";

/** @typedef {import("../../data/schema.d.ts").Webhook} Webhook */
/** @typedef {import("../../data/schema.d.ts").Webhooks} WebhookList */

export function Webhooks() {
  const [tick, setTick] = useState(0);
  const [adding, setAdding] = useState(false);
  const why = notAdmin();
  const request = useRequest(settled.value && !why ? "/v1/webhooks" : null, {}, tick);
  return html`
    <div class="head">
      <h1>Webhooks</h1>
      <span class="spring" />
      ${!why && html`<button class="button first" onClick=${() => setAdding(true)}>Add a webhook</button>`}
      <p class="lead">
        A webhook tells a program, or a channel of Slack, when runs finish, fail, pause or deserve a look. Messages are
        signed, and sent again for a day until they are accepted.
      </p>
    </div>
    ${adding && html`<${NewWebhookForm} close=${() => setAdding(false)} added=${() => setTick((n) => n + 1)} />`}
    ${
      why
        ? html`<${NeedsAdmin} why=${why} />`
        : html`
          <${Loaded} request=${request}>
            ${(/** @type {WebhookList} */ { items }) =>
              items.length
                ? html`<${List} items=${items} />`
                : html`
                  <div class="card">
                    <${Empty} title="No webhooks yet">
                      Add one here, or with <code>eva webhooks add NAME ADDRESS</code>.
                    <//>
                  </div>
                `}
          <//>
        `
    }
  `;
}

/**
 * How the newest delivery went that was sent; an older one that was not accepted is told, too.
 * @param {{webhook: Webhook}} props
 */
function LastResult({ webhook: { last, last_error: failure } }) {
  if (last === null) return html`<span class="soft">nothing sent yet</span>`;
  const why = last.state === "delivered" ? null : last.error;
  const response = last.status === null ? "" : ` (${last.status})`;
  return html`
    <div class="nowrap">
      ${DELIVERY_STATES[last.state]}${response}${" "}
      <span class="soft"><${TimeAgo} iso=${last.finished_at ?? last.created_at} /></span>
    </div>
    ${why && html`<div class="note soft" title=${why}>${why}</div>`}
    ${!why && failure && html`<div class="note soft" title=${failure}>an earlier one: ${failure}</div>`}
  `;
}

/** @param {{items: Webhook[]}} props */
const List = ({ items }) => html`
  <div class="card flush">
    <div class="scroll" tabindex="0" role="region" aria-label="Webhooks">
      <table class="data runs">
        <thead>
          <tr>
            <th scope="col">Webhook</th>
            <th scope="col">Told of</th>
            <th scope="col">Address</th>
            <th scope="col" class="number">Waiting</th>
            <th scope="col" class="number">Accepted</th>
            <th scope="col" class="number">Given up</th>
            <th scope="col">Last result</th>
            <th scope="col">Added</th>
          </tr>
        </thead>
        <tbody>
          ${items.map(
            (webhook) => html`
              <tr key=${webhook.name}>
                <td class="nowrap">
                  <${Link} to=${webhookPath(webhook.name)}><strong>${webhook.name}</strong><//>
                  <div class="soft small">${webhook.form === "slack" ? "Slack" : "JSON"}</div>
                </td>
                <td>${told(webhook)}</td>
                <td><code>${webhook.url}</code></td>
                <td class="number">${count(webhook.waiting)}</td>
                <td class="number">${count(webhook.delivered)}</td>
                <td class="number">${count(webhook.given_up)}</td>
                <td class="small"><${LastResult} webhook=${webhook} /></td>
                <td class="soft nowrap"><${TimeAgo} iso=${webhook.created_at} /></td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  </div>
`;
