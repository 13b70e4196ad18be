// Follows a run: what is asked again when something happened in it.
import { useEffect, useState } from "../ui.js";
import { listenToEvents, runEndpoint, useRequest, signIns } from "./api.js";

const COUNTS_MS = 2000;

/**
 * The run, and two numbers that change: `happened` with every event, `tick` also every two seconds while it plays;
 * `again` asks at once.
 * @param {string} name
 */
export function useRun(name) {
  const [happened, setHappened] = useState(0);
  const [tick, setTick] = useState(0);
  const request = useRequest(runEndpoint(name), {}, tick);
  const run = /** @type {import("./schema.d.ts").RunDetails | null} */ (request.data);
  const known = run !== null;
  const over = run !== null && ["finished", "failed", "cancelled"].includes(run.status);
  const from = run?.last_event ?? 0;
  useEffect(() => {
    if (!known || over) return undefined;
    let waiting = 0;
    // several stages may close at once: they are one change
    const ends = listenToEvents(name, from, () => {
      waiting ||= window.setTimeout(() => {
        waiting = 0;
        setHappened((n) => n + 1);
        setTick((n) => n + 1);
      }, 150);
    });
    const counts = setInterval(() => {
      if (!document.hidden) setTick((n) => n + 1);
    }, COUNTS_MS);
    return () => {
      ends();
      clearInterval(counts);
      clearTimeout(waiting);
    };
  }, [name, known, over, signIns.value]);
  return { request, run, happened, tick, again: () => setTick((n) => n + 1) };
}
