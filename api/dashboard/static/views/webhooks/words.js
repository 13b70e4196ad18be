// What the pages of webhooks share: a webhook's address, what it is told, and who may see it.
import { html } from "../../ui.js";
import { TextWithCode } from "../../parts/labels.js";

/** @typedef {import("../../data/schema.d.ts").Webhook} Webhook */
/** @typedef {import("../../data/schema.d.ts").Delivery} Delivery */

/** What each state of a delivery is called. @type {Record<Delivery["state"], string>} */
export const DELIVERY_STATES = { waiting: "waiting", delivered: "accepted", given_up: "given up" };

/** @param {string} name */
export const webhookPath = (name) => `/webhooks/${encodeURIComponent(name)}`;

const ALL = 4;

/** What a webhook is told, in words. @param {Webhook} webhook */
export function told({ topics, tags, runs }) {
  const which =
    runs === "named" ? "runs whose config names it" : tags.length ? `runs tagged ${tags.join(" or ")}` : "all runs";
  return `${which}: ${topics.length === ALL ? "everything" : topics.join(", ")}`;
}

/** @param {{why: string}} props */
export const NeedsAdmin = ({ why }) => html`
  <div class="notice">
    <h3>Webhooks belong to the whole service</h3>
    <p><${TextWithCode} text=${why} />.</p>
  </div>
`;
