// What a view shows while it waits, when there is nothing, and when something is wrong.
import { html } from "../ui.js";
import { signInDialog } from "../data/api.js";

export const Loading = () => html`<p class="waiting" role="status">Loading</p>`;

/** @param {{title: string, children?: unknown}} props */
export const Empty = ({ title, children }) => html`
  <div class="empty"><strong>${title}</strong><div>${children}</div></div>
`;

/** What the API said, in its own words. @param {{error: import("../data/api.js").ApiError}} props */
export function ErrorNotice({ error }) {
  const { title, given, expected, next_move: move, status } = error.problem;
  return html`
    <div class="notice bad" role="alert">
      <h3>${status ? `${title} (${status})` : title}</h3>
      <p>${given}${expected && html`<span class="soft"> · expected ${expected}</span>`}</p>
      ${move && status !== 401 && html`<p class="soft">${move}</p>`}
      ${
        status === 401 &&
        html`
          <p>
            <button
              type="button"
              class="button first"
              onClick=${() => {
                signInDialog.value = "asked";
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
 * The view over its data: waiting, wrong, or shown; old data stay visible below an error.
 * @template T
 * @param {{request: {data: T | null, error: any, loading: boolean}, children: (data: T) => unknown}} props
 */
export function Loaded({ request, children }) {
  return html`
    ${request.error && html`<${ErrorNotice} error=${request.error} />`}
    ${request.data !== null ? children(request.data) : !request.error && html`<${Loading} />`}
  `;
}
