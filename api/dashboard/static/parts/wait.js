// Says what a run waits for while nothing of it advances, for how long, and how long that usually takes.
import { html, useEffect, useState } from "../ui.js";
import { duration, stageName } from "./format.js";

/** @typedef {import("../data/schema.d.ts").Wait} Wait */

/** @type {Record<string, string>} */
const WORDS = {
  driver: "Its driver starts",
  start: "Ray, engines and the other workers start",
  evaluate_initial: "The engines load the model, before the first held-out prompt",
  evaluate: "The engines take over the new policy, before the first held-out prompt",
  judge_pool: "The engines take over the policy, before the first response",
  judge_batch: "The engines take over the policy, before the first response",
  evolve: "The evolver has not answered yet",
  train: "The trainer loads the model, before its first step",
};
const TICK_MS = 1000;

/** @param {{wait: Wait}} props */
export function Waiting({ wait }) {
  const [, setTick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setTick((n) => n + 1), TICK_MS);
    return () => clearInterval(timer);
  }, []);
  const seconds = wait.since === null ? null : Math.max(0, (Date.now() - Date.parse(wait.since)) / 1000);
  const ofStage = !["driver", "start"].includes(wait.what);
  return html`
    <div class="now waits">
      <span class="busy-dot" aria-hidden="true" />
      <span role="status">${WORDS[wait.what] ?? `${stageName(wait.what)} has begun`}.</span>
      <span class="soft">
        ${seconds === null ? "" : `For ${duration(Math.round(seconds))} now. `}
        ${
          wait.usual_s === null
            ? "No earlier run with this model says how long that takes."
            : `${ofStage ? "The whole stage" : "That"} took ${duration(wait.usual_s)} in ${
                wait.runs === 1 ? "an earlier run" : `${wait.runs} earlier runs`
              } with this model.`
        }
      </span>
    </div>
  `;
}
