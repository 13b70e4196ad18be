// The list of webhooks: what each is told, and how its deliveries went.
import { html, useState } from "../../ui.js";
import { useRequest } from "../../data/api.js";
import { count } from "../../parts/format.js";
import { TimeAgo } from "../../parts/labels.js";
import { Empty, Loaded } from "../../parts/states.js";
import { Link } from "../../router.js";
import { notAdmin, settled } from "../../session.js";
import { NewWebhookForm } from "./new-webhook.js";
import { NeedsAdmin, told, webhookPath } from "./words.js";

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
            <th scope="col">Last failure</th>
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
                <td class="soft small">
                  ${
                    webhook.last_error
                      ? html`<div class="note" title=${webhook.last_error}>${webhook.last_error}</div>`
                      : "–"
                  }
                </td>
                <td class="soft nowrap"><${TimeAgo} iso=${webhook.created_at} /></td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  </div>
`;
