// What each policy responded to a prompt, side by side: the best response of each, and how it did on average.
import { html, useState } from "../../ui.js";
import { figure } from "../../parts/format.js";
import { SideBySide } from "../../parts/side-by-side.js";
import { rank } from "./responses.js";

/** @typedef {import("../../data/schema.d.ts").PromptDetails} PromptDetails */

const MOST = 6;

/** @param {{prompt: PromptDetails}} props */
export function Policies({ prompt }) {
  const [marked, setMarked] = useState(true);
  const { items, truncated } = prompt.responses;
  // the list may stop in the middle of its last policy
  const policies = [...new Set(items.map((response) => response.checkpoint))].slice(0, truncated ? -1 : undefined);
  if (policies.length < 2) return null;
  const rewarder = items[0].rewards[0]?.rewarder;
  const shown = policies.slice(-MOST).map((policy) => {
    const ranked = rank(
      items.filter((response) => response.checkpoint === policy),
      rewarder,
    );
    const values = ranked.flatMap((item) => (item.value === null ? [] : [item.value]));
    const mean = values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
    return {
      ...ranked[0].response,
      title: `Policy ${policy}`,
      reward: ranked[0].value,
      reason: ranked[0].reason,
      success: null,
      facts: `best of ${ranked.length}, mean ${figure(mean)}`,
    };
  });
  return html`
    <section class="card" aria-label="Policies side by side">
      <header>
        <h2>Policies side by side</h2>
        <span class="aside">
          the best response of ${policies.length > MOST ? `the last ${MOST} policies` : "each policy"}
          ${rewarder ? `, rewarded by ${rewarder}` : ""}
        </span>
      </header>
      <div class="buttons">
        <label class="check">
          <input type="checkbox" checked=${marked} onChange=${() => setMarked(!marked)} /> mark what changed
        </label>
      </div>
      <${SideBySide} responses=${shown} marked=${marked} />
    </section>
  `;
}
