// What speaks for and against believing a study: what was held equal, repeated arms, and held-out prompts.
import { html } from "../../ui.js";
import { count } from "../../parts/format.js";

/** @typedef {import("../../data/schema.d.ts").StudyReport} StudyReport */
/** @typedef {{good: boolean | null, title: string, text: string}} Doubt */

const QUANTITIES = /** @type {Record<string, string>} */ ({
  steps: "optimiser steps in each iteration",
  responses: "responses",
  tokens: "tokens",
});

/** @param {{report: StudyReport}} props */
export const Doubts = ({ report }) => html`
  <ul class="notices" aria-label="Checks of the study">
    ${[equality(report), repeats(report), heldOut(report)].map(
      (doubt) =>
        doubt &&
        html`
          <li key=${doubt.title} class=${doubt.good ? "notice" : doubt.good === null ? "notice warn" : "notice bad"}>
            <h3>${doubt.title}</h3>
            <p class="soft">${doubt.text}</p>
          </li>
        `,
    )}
  </ul>
`;

/** @param {StudyReport} report @returns {Doubt} */
function equality({ match }) {
  if (!match)
    return {
      good: null,
      title: "Nothing was held equal",
      text: "Look at what each arm cost before you conclude anything from its outcome.",
    };
  const what = `at most ${count(match.limit)} ${QUANTITIES[match.quantity]}`;
  if (match.held) return { good: true, title: "Held equal", text: `Every run used ${what}, and all used the same.` };
  const used = match.used.map(({ arm, least, most }) =>
    least === most ? `${arm} ${count(least)}` : `${arm} ${count(least)} to ${count(most)}`,
  );
  return { good: null, title: "Not quite held equal", text: `Allowed were ${what}. Used: ${used.join("; ")}.` };
}

/** @param {StudyReport} report @returns {Doubt} */
function repeats({ repeats: { covered, total, outcome_covered: outcomeCovered } }) {
  if (!total)
    return {
      good: null,
      title: "The noise is not checked",
      text: "No finished arm is repeated with other draws (A/A), so nothing shows how large a difference chance makes.",
    };
  return {
    good: outcomeCovered === false ? false : true,
    title: outcomeCovered === false ? "A repeated arm differs from itself" : "Repeated arms agree",
    text: `${count(covered)} of ${count(total)} intervals of arms that differ only in their draws (A/A) cover 0;
      about 95 of 100 should.`,
  };
}

/** @param {StudyReport} report @returns {Doubt | null} */
function heldOut({ contamination: found }) {
  if (!found) return null;
  const trainedOn = `${count(found.trained_on)} prompts that the runs trained on`;
  if (!found.equal && !found.near)
    return {
      good: true,
      title: "Held-out prompts were held out",
      text: `None of the ${count(found.heldout)} held-out prompts is like one of the ${trainedOn}.`,
    };
  return {
    good: found.equal ? false : null,
    title: found.equal ? "Held-out prompts were trained on" : "Some held-out prompts resemble prompts trained on",
    text: `Of ${count(found.heldout)} held-out prompts, ${count(found.equal)} equal and ${count(found.near)} more nearly
      equal one of the ${trainedOn}.`,
  };
}
