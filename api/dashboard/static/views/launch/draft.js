// A config being edited. Its YAML text is the state, and the form is another view of it. After each change the API
// says what is wrong and what the run would cost. Edits survive a reload of the tab.
import { signal } from "../../ui.js";
import { AGAIN_MS, ApiError, isAway, runEndpoint, send } from "../../data/api.js";
import { linesOf } from "../../parts/entry.js";

/** @typedef {import("../../data/schema.d.ts").ConfigText} ConfigText */
/** @typedef {{kind: "preset" | "run" | "fork" | "own", name: string}} Source */
/**
 * @typedef {{config: Record<string, any>, checks: string[], estimate?: string[],
 *   plan?: import("../../data/schema.d.ts").RunPlan | null,
 *   changes?: import("../../data/schema.d.ts").ChangedKey[]}} CheckedConfig
 */
/** @typedef {{note: string, tags: string, at: number}} Extras */

const REST_MS = 400;

export class Draft {
  /** @param {Source} source @param {number} at */
  constructor(source, at) {
    this.source = source;
    this.place = `eva-draft:${source.kind}:${source.name}`;
    const stored = this.kept();
    this.text = signal(/** @type {string | null} */ (stored?.text ?? (source.kind === "own" ? "" : null)));
    this.extras = signal(/** @type {Extras} */ (stored?.extras ?? { note: "", tags: "", at }));
    /** Whether there are edits to keep for a reload. */
    this.touched = signal(Boolean(stored));
    /** The text, parsed. */
    this.values = signal(/** @type {Record<string, any> | null} */ (null));
    /** Changes made in the form that are not in the text yet. */
    this.pending = signal(/** @type {Record<string, unknown>} */ ({}));
    this.checked = signal(/** @type {CheckedConfig | null} */ (null));
    this.refused = signal(/** @type {ApiError | null} */ (null));
    /** Whether the text could be parsed. */
    this.readable = signal(true);
    this.busy = signal(true);
    this.fresh = signal(true);
    this.timer = 0;
    this.flight = new AbortController();
    this.key = /** @type {{name: string, of: string} | null} */ (stored?.key ?? null);
  }

  kept() {
    try {
      return JSON.parse(sessionStorage.getItem(this.place) ?? "null");
    } catch {
      return null;
    }
  }

  keep() {
    try {
      sessionStorage.setItem(
        this.place,
        JSON.stringify({ text: this.text.peek(), extras: this.extras.peek(), key: this.key }),
      );
    } catch {
      /* no storage: a reload loses the edits */
    }
  }

  forget() {
    try {
      sessionStorage.removeItem(this.place);
    } catch {
      /* no storage: nothing to remove */
    }
  }

  /** @param {string} text */
  write(text) {
    this.text.value = text;
    this.change();
  }

  /** Sets the value of a key; null restores its default. @param {string} key @param {unknown} value */
  set(key, value) {
    this.pending.value = { ...this.pending.peek(), [key]: value };
    this.change();
  }

  /** @param {Partial<Extras>} words */
  say(words) {
    this.extras.value = { ...this.extras.peek(), ...words };
    this.change();
  }

  change() {
    this.touched.value = true;
    this.keep();
    this.check(REST_MS);
  }

  /** Lets the API check the config once there has been no edit for a while. */
  check(wait = 0) {
    this.flight.abort();
    clearTimeout(this.timer);
    this.fresh.value = false;
    this.busy.value = true;
    this.timer = window.setTimeout(() => {
      void this.checkNow();
    }, wait);
  }

  end() {
    this.flight.abort();
    clearTimeout(this.timer);
  }

  async checkNow() {
    this.flight = new AbortController();
    const { signal: abortSignal } = this.flight;
    try {
      this.readable.value = await this.read(abortSignal);
      if (this.readable.peek() && Object.keys(this.values.peek() ?? {}).length) {
        this.checked.value = await send("POST", this.address(), this.body(), {
          query: { dry_run: true },
          signal: abortSignal,
        });
        this.refused.value = null;
        this.fresh.value = true;
      }
      this.busy.value = false;
    } catch (error) {
      if (abortSignal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.refused.value = error;
      this.busy.value = false;
      this.checked.value = null;
      if (isAway(error)) this.timer = window.setTimeout(() => void this.checkNow(), AGAIN_MS);
    }
  }

  /** Applies the form's changes to the text and parses it. @param {AbortSignal} abortSignal */
  async read(abortSignal) {
    const [text, changes] = [this.text.peek(), this.pending.peek()];
    const { kind, name } = this.source;
    const origin = text === null ? { [kind === "preset" ? "preset" : "run"]: name } : { text };
    try {
      const read = /** @type {ConfigText} */ (
        await send("POST", "/v1/configs", { ...origin, changes }, { signal: abortSignal })
      );
      this.text.value = read.text;
      this.values.value = read.config;
      this.pending.value = {};
      if (this.touched.peek()) this.keep();
      return true;
    } catch (error) {
      if (!(error instanceof ApiError) || error.problem.status !== 422) throw error;
      this.refused.value = error;
      this.checked.value = null;
      return false;
    }
  }

  address() {
    return this.source.kind === "fork" ? `${runEndpoint(this.source.name)}:fork` : "/v1/runs";
  }

  body() {
    const { note, tags, at } = this.extras.peek();
    const { kind, name } = this.source;
    const extras = kind === "fork" ? { at } : kind === "own" ? {} : { [kind]: name };
    return { ...extras, config: this.values.peek(), note, tags: linesOf(tags) };
  }

  /**
   * Launches the run, only once even when called twice.
   * @returns {Promise<import("../../data/schema.d.ts").RunDetails | null>} null: the API refused
   */
  async launch() {
    const request = JSON.stringify(this.body());
    if (this.key?.of !== request)
      this.key = {
        name: [...crypto.getRandomValues(new Uint8Array(16))]
          .map((byte) => byte.toString(16).padStart(2, "0"))
          .join(""),
        of: request,
      };
    this.keep();
    try {
      const run = await send("POST", this.address(), this.body(), { headers: { "Idempotency-Key": this.key.name } });
      this.forget();
      return /** @type {any} */ (run);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.refused.value = error;
      return null;
    }
  }
}
