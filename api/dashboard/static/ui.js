// The one place where the vendored libraries are named.
import { Component, h, render } from "./vendor/preact.js";
import { useEffect, useMemo, useRef, useState } from "./vendor/preact-hooks.js";
import { computed, effect, signal, useSignal } from "./vendor/signals.js";
import htm from "./vendor/htm.js";

export { Component, computed, effect, h, render, signal, useEffect, useMemo, useRef, useSignal, useState };

/** Markup as a tagged template: everything between the tags is text, never HTML. */
export const html = htm.bind(h);

/** @param {...(string | false | null | undefined)} names */
export const classes = (...names) => names.filter(Boolean).join(" ");
