// What a view shows while it loads, when it has nothing to show, and when a request failed.
import { html } from "../ui.js";
import { signInDialog } from "../data/api.js";
import { TextWithCode } from "./labels.js";

export const Loading = () => html`<p class="waiting" role="status">Loading</p>`;

/** @param {{title: string, children?: unknown}} props */
export const Empty = ({ title, children }) => html`
  <div class="empty"><strong>${title}</strong><div>${children}</div></div>
`;

/** Shows an error in the words of the API. @param {{error: import("../data/api.js").ApiError}} props */
export function ErrorNotice({ error }) {
  const { title, given, expected, next_move: move, status } = error.problem;
  return html`
    <div class="notice bad" role="alert">
      <h3>${status ? `${title} (${status})` : title}</h3>
      <p>${given}${expected && html`<span class="soft"> · expected: ${expected}</span>`}</p>
      ${move && status !== 401 && html`<p class="soft"><${TextWithCode} text=${move} /></p>`}
      ${
        status === 401 &&
        html`
          <p>
            <button
              type="button"
              class="button first"
              onClick=${() => {
                signInDialog.value = "open";
              }}
            >
              Sign in with an API key
            </button>
          </p>
        `
      }
    </div>
  `;
}

/**
 * Shows a view once its data has loaded. After an error, the old data stays visible below it.
 * @template T
 * @param {{request: {data: T | null, error: any, loading: boolean}, children: (data: T) => unknown}} props
 */
export function Loaded({ request, children }) {
  return html`
    ${request.error && html`<${ErrorNotice} error=${request.error} />`}
    ${request.data !== null ? children(request.data) : !request.error && html`<${Loading} />`}
  `;
}
