// Asking the API. Its errors say what was given, what is allowed and the next move; the views show them as they are.
import { signal, useEffect, useSignal } from "../ui.js";

/** @typedef {import("./schema.d.ts").Problem} Problem */

/** What the API refused, or why it was not reached. */
export class ApiError extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

/** Whether the service asks who is asking: the page stays, and what was typed in it, while somebody signs in. */
export const signInDialog = signal(/** @type {"no" | "asked" | "declined"} */ ("no"));

/** How often somebody signed in or out here: whatever was asked before is asked again. */
export const signIns = signal(0);

/** @param {string} path @param {Record<string, unknown>} [query] */
export function address(path, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== undefined && item !== null && item !== "") search.append(name, String(item));
    }
  }
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}

/** The path of a run's part. @param {string} run @param {...(string | number)} parts */
export const runEndpoint = (run, ...parts) =>
  ["/v1/runs", run, ...parts].map((part, place) => (place ? encodeURIComponent(part) : part)).join("/");

/**
 * @template T
 * @param {string} path
 * @param {Record<string, unknown>} [query]
 * @param {RequestInit} [options]
 * @returns {Promise<T>}
 */
export async function fetchJson(path, query = {}, options = {}) {
  return (await fetchWithTag(path, query, options)).data;
}

/**
 * Something is to be done: JSON goes there.
 * @template T
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {{query?: Record<string, unknown>, headers?: Record<string, string>, signal?: AbortSignal}} [more]
 * @returns {Promise<T>}
 */
export const send = (method, path, body, { query = {}, headers = {}, signal: ends } = {}) =>
  fetchJson(path, query, {
    method,
    signal: ends,
    headers: {
      Accept: "application/json",
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });

/**
 * An answer with its tag, which a change of it has to name.
 * @template T
 * @param {string} path
 * @param {Record<string, unknown>} [query]
 * @param {RequestInit} [options]
 * @returns {Promise<{data: T, tag: string}>}
 */
export async function fetchWithTag(path, query = {}, options = {}) {
  let response;
  try {
    response = await fetch(address(path, query), { headers: { Accept: "application/json" }, ...options });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError({
      type: "unreachable",
      title: "Not reached",
      status: 0,
      detail: "The service does not answer.",
      given: "no answer from the service",
      next_move: "Look whether `eva serve` still runs; this page comes back by itself.",
    });
  }
  if (!response.ok) {
    // who declined is asked again when something is to be done, not at every look
    if (response.status === 401 && (options.method || signInDialog.peek() === "no")) signInDialog.value = "asked";
    throw new ApiError(await problemOf(response));
  }
  return { data: response.status === 204 ? null : await response.json(), tag: response.headers.get("ETag") ?? "" };
}

/** @param {Response} response @returns {Promise<Problem>} */
async function problemOf(response) {
  try {
    return await response.json();
  } catch {
    return {
      type: "unknown",
      title: response.statusText,
      status: response.status,
      detail: `The service answered ${response.status} ${response.statusText}.`,
      given: response.statusText,
    };
  }
}

/**
 * What the API answers, asked again when the address or `again` changes. What was there stays until the new is.
 * @template T
 * @param {string | null} path null: nothing to ask yet
 * @param {Record<string, unknown>} [query]
 * @param {unknown} [again]
 * @returns {{data: T | null, error: ApiError | null, loading: boolean}}
 */
export function useRequest(path, query = {}, again = 0) {
  const wanted = path === null ? null : address(path, query);
  const state = useSignal({
    of: /** @type {string | null} */ (null),
    data: /** @type {T | null} */ (null),
    error: /** @type {ApiError | null} */ (null),
    loading: wanted !== null,
  });
  useEffect(() => {
    if (wanted === null || path === null) return undefined;
    const ends = new AbortController();
    let timer = 0;
    const run = () => {
      state.value = { ...state.peek(), loading: true };
      fetchJson(path, query, { signal: ends.signal }).then(
        (data) => {
          state.value = { of: wanted, data: /** @type {T} */ (data), error: null, loading: false };
        },
        (error) => {
          if (ends.signal.aborted) return;
          if (!(error instanceof ApiError)) throw error;
          const old = state.peek();
          state.value = { of: wanted, data: old.of === wanted ? old.data : null, error, loading: false };
          if (error.problem.status === 0 || error.problem.status >= 503) timer = setTimeout(run, 3000);
        },
      );
    };
    run();
    return () => {
      ends.abort();
      clearTimeout(timer);
    };
  }, [wanted, again, signIns.value]);
  return state.value;
}

/**
 * Events of a run as they happen. The browser comes back by itself after the last one it saw.
 * @param {string} run
 * @param {number} after
 * @param {(event: import("./schema.d.ts").Event) => void} heard
 * @returns {() => void} ends it
 */
export function listenToEvents(run, after, heard) {
  const source = new EventSource(address(runEndpoint(run, "events", "stream"), { after }));
  source.onmessage = (message) => heard(JSON.parse(message.data));
  return () => source.close();
}
