// A dialog in front of the page. The browser keeps the focus inside, closes it with Escape, and restores the focus.
import { html, useEffect, useRef } from "../ui.js";

/** @param {{title: string, close: () => void, children?: unknown}} props */
export function Dialog({ title, close, children }) {
  const box = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const [shown, before] = [box.current, /** @type {HTMLElement | null} */ (document.activeElement)];
    shown?.showModal();
    return () => {
      shown?.close();
      before?.focus();
    };
  }, []);
  const leave = (/** @type {Event} */ event) => {
    event.preventDefault();
    close();
  };
  return html`
    <dialog ref=${box} aria-label=${title} onCancel=${leave}>
      <header>
        <h2>${title}</h2>
        <button type="button" class="button bare" aria-label="Close" onClick=${close}>✕</button>
      </header>
      ${children}
    </dialog>
  `;
}

/**
 * Asks for confirmation before something that cannot be undone.
 * @param {{title: string, yes: string, busy: boolean, close: () => void, go: () => void, children?: unknown}} props
 */
export const Confirm = ({ title, yes, busy, close, go, children }) => html`
  <${Dialog} title=${title} close=${close}>
    <div class="dialog-text">${children}</div>
    <p class="buttons ends">
      <button type="button" class="button" onClick=${close} autofocus>Keep it</button>
      <button type="button" class="button grave" disabled=${busy} onClick=${go}>${yes}</button>
    </p>
  <//>
`;
