// The only file that imports Preact, htm and signals; everything else imports them from here.
import { Component, h, render } from "./vendor/preact.js";
import { useEffect, useMemo, useRef, useState } from "./vendor/preact-hooks.js";
import { computed, effect, signal, useSignal } from "./vendor/signals.js";
import htm from "./vendor/htm.js";
import { marking } from "./hidden-characters.js";

export { Component, computed, effect, h, render, signal, useEffect, useMemo, useRef, useSignal, useState };

/** Builds markup from a tagged template. Values are always inserted as text, never as HTML; what hides is marked. */
export const html = htm.bind(marking(h));

/** @param {...(string | false | null | undefined)} names */
export const classes = (...names) => names.filter(Boolean).join(" ");
