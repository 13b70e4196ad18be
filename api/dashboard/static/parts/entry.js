// A field of a form with its label, and below it a hint or what is wrong with it.
import { html } from "../ui.js";

/**
 * The field inside has this `id` and is described by `${id}-hint`.
 * @param {{id: string, label: string, wrong?: string, hint: string, children?: unknown}} props
 */
export const Entry = ({ id, label, wrong, hint, children }) => html`
  <div class="field">
    <label for=${id}>${label}</label>
    ${children}
    <span id=${`${id}-hint`} class=${wrong ? "mistake" : "hint"}>${wrong ?? hint}</span>
  </div>
`;

/** The lines of a text, such as tags, without empty ones. @param {string} text */
export const linesOf = (text) =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
