// Sends requests to the API. Its errors say what was wrong, what is allowed and what to do next; the views show them
// as they are.
import { signal, useEffect, useSignal } from "../ui.js";

/** @typedef {import("./schema.d.ts").Problem} Problem */

/** An error that the API returned, or the failure to reach it. */
export class ApiError extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

/** Milliseconds after which a request is repeated while the service is away. */
export const AGAIN_MS = 3000;

/** Whether the service, or what stands in front of it, could not be reached. @param {unknown} error */
export const isAway = (error) =>
  error instanceof ApiError && (error.problem.status === 0 || [502, 503, 504].includes(error.problem.status));

/** Whether the sign-in dialog is open. It opens over the page, so that nothing typed there is lost. */
export const signInDialog = signal(/** @type {"closed" | "open" | "declined"} */ ("closed"));

/** Counts sign-ins and sign-outs; each one repeats the requests that are on show. */
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

/** The API path of something that belongs to a run. @param {string} run @param {...(string | number)} parts */
export const runEndpoint = (run, ...parts) =>
  ["/v1/runs", run, ...parts].map((part, index) => (index ? encodeURIComponent(part) : part)).join("/");

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
 * Sends JSON and returns the JSON that comes back.
 * @template T
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {{query?: Record<string, unknown>, headers?: Record<string, string>, signal?: AbortSignal}} [more]
 * @returns {Promise<T>}
 */
export const send = (method, path, body, { query = {}, headers = {}, signal: abortSignal } = {}) =>
  fetchJson(path, query, {
    method,
    signal: abortSignal,
    headers: {
      Accept: "application/json",
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });

/**
 * Fetches JSON together with its ETag, which a later change must send as If-Match.
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
      title: "The service is not reachable",
      status: 0,
      detail: "The service does not respond.",
      given: "No response from the service",
      next_move: "Check that `eva serve` is still running. This page recovers by itself.",
    });
  }
  if (!response.ok) {
    // after "Not now", the dialog opens again for a change, but not for every read
    if (response.status === 401 && (options.method || signInDialog.peek() === "closed")) signInDialog.value = "open";
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
      detail: `The service returned ${response.status} ${response.statusText}.`,
      given: response.statusText,
    };
  }
}

/**
 * Fetches JSON for a component, and again whenever the address or `again` changes. Old data stays until the new
 * arrives.
 * @template T
 * @param {string | null} path null: nothing to fetch yet
 * @param {Record<string, unknown>} [query]
 * @param {unknown} [again]
 * @returns {{data: T | null, error: ApiError | null, loading: boolean}}
 */
export function useRequest(path, query = {}, again = 0) {
  const url = path === null ? null : address(path, query);
  const state = useSignal({
    of: /** @type {string | null} */ (null),
    data: /** @type {T | null} */ (null),
    error: /** @type {ApiError | null} */ (null),
    loading: url !== null,
  });
  useEffect(() => {
    if (url === null || path === null) return undefined;
    const controller = new AbortController();
    let timer = 0;
    const run = () => {
      state.value = { ...state.peek(), loading: true };
      fetchJson(path, query, { signal: controller.signal }).then(
        (data) => {
          state.value = { of: url, data: /** @type {T} */ (data), error: null, loading: false };
        },
        (error) => {
          if (controller.signal.aborted) return;
          if (!(error instanceof ApiError)) throw error;
          const old = state.peek();
          state.value = { of: url, data: old.of === url ? old.data : null, error, loading: false };
          if (isAway(error)) timer = window.setTimeout(run, AGAIN_MS);
        },
      );
    };
    run();
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, [url, again, signIns.value]);
  return state.value;
}

/**
 * Calls back for every event of a run as it happens. After a lost connection it resumes where it stopped: the browser
 * does so by itself, unless something between it and the service has answered with an error.
 * @param {string} run
 * @param {number} after
 * @param {(event: import("./schema.d.ts").Event) => void} onEvent
 * @returns {() => void} stops it
 */
export function listenToEvents(run, after, onEvent) {
  let last = after;
  let timer = 0;
  let source = /** @type {EventSource | null} */ (null);
  const open = () => {
    source = new EventSource(address(runEndpoint(run, "events", "stream"), { after: last }));
    source.onmessage = (message) => {
      last = Number(message.lastEventId) || last;
      onEvent(JSON.parse(message.data));
    };
    source.onerror = () => {
      if (source?.readyState === EventSource.CLOSED) timer = window.setTimeout(open, AGAIN_MS);
    };
  };
  open();
  return () => {
    source?.close();
    clearTimeout(timer);
  };
}
