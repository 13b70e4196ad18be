// Responses of several policies side by side, with their rewards and what changed from one to the next.
import { classes, html } from "../ui.js";
import { Difference } from "./difference.js";
import { count, figure } from "./format.js";

/**
 * @typedef {{title: string, reward: number | null, reason: string | null, success: boolean | null, text: string,
 *   tokens: number, finish: string, facts?: string}} Shown
 */

/** A response as it is shown. @param {string} text */
export const responseText = (text) => text || html`<span class="soft">(empty)</span>`;

/** @param {{responses: Shown[], marked: boolean}} props `marked`: each is compared with the one before it */
export const SideBySide = ({ responses, marked }) => html`
  <div class="versus">
    ${responses.map((response, n) => {
      const before = responses[n - 1];
      return html`
        <article class=${classes("response", response.success && "best")} key=${response.title}>
          <header>
            <span>${response.title}</span>
            <span class="number" title=${response.reason ?? ""}>${figure(response.reward)}</span>
            ${response.success && html`<span class="tag trained">succeeds</span>`}
            <span class="soft small">
              ${response.facts && `${response.facts} · `}${count(response.tokens)} tokens
              ${response.finish === "stop" ? "" : html` · <strong>${response.finish}</strong>`}
            </span>
          </header>
          ${response.reason && html`<p class="small soft">no reward: ${response.reason}</p>`}
          ${
            marked && before && before.text === response.text
              ? html`<p class="soft">The same as ${before.title.toLowerCase()}.</p>`
              : marked && before
                ? html`<${Difference} before=${before.text} after=${response.text} />`
                : html`
                  <pre class="text">
                    ${responseText(response.text)}
                  </pre>
                `
          }
        </article>
      `;
    })}
  </div>
`;
