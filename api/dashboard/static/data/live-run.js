// Follows a run, so that a view can fetch again when something happened in it.
import { useEffect, useState } from "../ui.js";
import { listenToEvents, runEndpoint, useRequest, signIns } from "./api.js";

const COUNTS_MS = 2000;
/** A run that failed may be resumed at any time; nothing else happens in it. */
const RESUMED_MS = 5000;

/**
 * The run, and two counters to fetch by: `happened` goes up with every event, `tick` also every two seconds while the
 * run is playing, and when the reader comes back to the page. `again` fetches at once.
 * @param {string} name
 */
export function useRun(name) {
  const [happened, setHappened] = useState(0);
  const [tick, setTick] = useState(0);
  const request = useRequest(runEndpoint(name), {}, tick);
  const run = /** @type {import("./schema.d.ts").RunDetails | null} */ (request.data);
  const loaded = run !== null;
  const over = run !== null && ["finished", "cancelled"].includes(run.status);
  const failed = run?.status === "failed";
  const lastEvent = run?.last_event ?? 0;
  useEffect(() => {
    if (!loaded || over) return undefined;
    let waiting = 0;
    if (failed) {
      const timer = setInterval(() => setTick((n) => n + 1), RESUMED_MS);
      return () => clearInterval(timer);
    }
    // several stages may close at once: fetch only once for all of them
    const stopListening = listenToEvents(name, lastEvent, () => {
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
      stopListening();
      clearInterval(counts);
      clearTimeout(waiting);
    };
  }, [name, loaded, over, failed, signIns.value]);
  useEffect(() => {
    // whatever its status, somebody may have renamed, tagged or deleted it meanwhile
    const look = () => {
      if (!document.hidden) setTick((n) => n + 1);
    };
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
  return { request, run, happened, tick, again: () => setTick((n) => n + 1) };
}
