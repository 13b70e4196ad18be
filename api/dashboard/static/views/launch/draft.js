// A config that is being edited: its YAML is the state, the form another view of it. Every change is tried on the API,
// which says what is wrong and what it would cost; what was typed survives a reload.
import { signal } from "../../ui.js";
import { ApiError, runEndpoint, send } from "../../data/api.js";
import { tagsIn } from "../runs/details-form.js";

/** @typedef {import("../../data/schema.d.ts").ConfigText} ConfigText */
/** @typedef {{kind: "preset" | "run" | "fork" | "own", name: string}} Source */
/**
 * @typedef {{config: Record<string, any>, checks: string[], estimate?: string[],
 *   changes?: import("../../data/schema.d.ts").ChangedKey[]}} Rehearsed
 */
/** @typedef {{note: string, tags: string, at: number}} Beside */

const REST_MS = 400;

export class Draft {
  /** @param {Source} source @param {number} at */
  constructor(source, at) {
    this.source = source;
    this.place = `eva-draft:${source.kind}:${source.name}`;
    const kept = this.kept();
    this.text = signal(/** @type {string | null} */ (kept?.text ?? (source.kind === "own" ? "" : null)));
    this.beside = signal(/** @type {Beside} */ (kept?.beside ?? { note: "", tags: "", at }));
    /** Whether something was typed that is kept for a reload. */
    this.touched = signal(Boolean(kept));
    /** What the text says. */
    this.values = signal(/** @type {Record<string, any> | null} */ (null));
    /** Changes of the form that are not in the text yet. */
    this.pending = signal(/** @type {Record<string, unknown>} */ ({}));
    this.rehearsed = signal(/** @type {Rehearsed | null} */ (null));
    this.refused = signal(/** @type {ApiError | null} */ (null));
    /** Whether the text could be read. */
    this.readable = signal(true);
    this.busy = signal(true);
    this.fresh = signal(true);
    this.timer = 0;
    this.flight = new AbortController();
    this.key = /** @type {{name: string, of: string} | null} */ (kept?.key ?? null);
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
        JSON.stringify({ text: this.text.peek(), beside: this.beside.peek(), key: this.key }),
      );
    } catch {
      /* no storage: then a reload forgets */
    }
  }

  forget() {
    try {
      sessionStorage.removeItem(this.place);
    } catch {
      /* nothing was kept */
    }
  }

  /** @param {string} text */
  write(text) {
    this.text.value = text;
    this.change();
  }

  /** Another value at a key; null: its default. @param {string} key @param {unknown} value */
  set(key, value) {
    this.pending.value = { ...this.pending.peek(), [key]: value };
    this.change();
  }

  /** @param {Partial<Beside>} words */
  say(words) {
    this.beside.value = { ...this.beside.peek(), ...words };
    this.change();
  }

  change() {
    this.touched.value = true;
    this.keep();
    this.check(REST_MS);
  }

  /** Ask what this would be, as soon as nothing was typed for a while. */
  check(wait = 0) {
    this.flight.abort();
    clearTimeout(this.timer);
    this.fresh.value = false;
    this.busy.value = true;
    this.timer = window.setTimeout(() => {
      void this.rehearse();
    }, wait);
  }

  end() {
    this.flight.abort();
    clearTimeout(this.timer);
  }

  async rehearse() {
    this.flight = new AbortController();
    const { signal: ends } = this.flight;
    try {
      this.readable.value = await this.read(ends);
      if (this.readable.peek() && Object.keys(this.values.peek() ?? {}).length) {
        this.rehearsed.value = await send("POST", this.address(), this.body(), {
          query: { dry_run: true },
          signal: ends,
        });
        this.refused.value = null;
        this.fresh.value = true;
      }
      this.busy.value = false;
    } catch (error) {
      if (ends.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.refused.value = error;
      this.busy.value = false;
      this.rehearsed.value = null;
    }
  }

  /** The text with the form's changes, and what it says. @param {AbortSignal} ends */
  async read(ends) {
    const [text, changes] = [this.text.peek(), this.pending.peek()];
    const { kind, name } = this.source;
    const of = text === null ? { [kind === "preset" ? "preset" : "run"]: name } : { text };
    try {
      const read = /** @type {ConfigText} */ (await send("POST", "/v1/configs", { ...of, changes }, { signal: ends }));
      this.text.value = read.text;
      this.values.value = read.config;
      this.pending.value = {};
      if (this.touched.peek()) this.keep();
      return true;
    } catch (error) {
      if (!(error instanceof ApiError) || error.problem.status !== 422) throw error;
      this.refused.value = error;
      this.rehearsed.value = null;
      return false;
    }
  }

  address() {
    return this.source.kind === "fork" ? `${runEndpoint(this.source.name)}:fork` : "/v1/runs";
  }

  body() {
    const { note, tags, at } = this.beside.peek();
    const { kind, name } = this.source;
    const beside = kind === "fork" ? { at } : kind === "own" ? {} : { [kind]: name };
    return { ...beside, config: this.values.peek(), note, tags: tagsIn(tags) };
  }

  /**
   * Launches it, once however often it is asked.
   * @returns {Promise<import("../../data/schema.d.ts").RunDetails | null>} null: it was refused
   */
  async launch() {
    const of = JSON.stringify(this.body());
    if (this.key?.of !== of)
      this.key = {
        name: [...crypto.getRandomValues(new Uint8Array(16))]
          .map((byte) => byte.toString(16).padStart(2, "0"))
          .join(""),
        of,
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
