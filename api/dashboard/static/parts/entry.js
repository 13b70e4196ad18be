// A field of a form with its label, and below it a hint or what is wrong with it.
import { html } from "../ui.js";

/**
 * The child draws the field with the attributes that tie it to its label and hint.
 * @param {{id: string, label: string, wrong?: string, hint: string, children: (attributes: object) => unknown}} props
 */
export const Entry = ({ id, label, wrong, hint, children }) => html`
  <div class="field">
    <label for=${id}>${label}</label>
    ${children({ id, "aria-describedby": `${id}-hint`, "aria-invalid": wrong ? "true" : undefined })}
    <span id=${`${id}-hint`} class=${wrong ? "mistake" : "hint"}>${wrong ?? hint}</span>
  </div>
`;

/** The lines of a text, such as tags, without empty ones. @param {string} text */
export const linesOf = (text) =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
