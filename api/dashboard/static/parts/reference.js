// The answer that is known to be right, which verifiers and judges see.
import { html } from "../ui.js";

/** @param {{value: string | null, from: string}} props */
export const Reference = ({ value, from }) =>
  value !== null &&
  html`
    <div class="messages reference">
      <div class="role">reference answer, from ${from}</div>
      <pre class="text">${value}</pre>
    </div>
  `;
