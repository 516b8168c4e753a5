// So many streams a browser and no more. A browser allows six connections to an origin over
// HTTP/1.1, and the seventh hangs without an error: a page that streams needs a place, and the
// newest page takes the oldest place if there is none. Without Web Locks (no secure context) there
// is no limit, and only pages that are seen stream.

/** So many pages stream at once; the other connections are for calls. */
const PLACES = 4;

/**
 * Takes a place, and gives it back when the signal ends. `lost` is called if a newer page takes it.
 * @param {AbortSignal} signal
 * @param {() => void} lost
 * @returns {Promise<void>}
 */
export async function takePlace(signal, lost) {
  const locks = navigator.locks;
  if (locks === undefined) return;
  for (let place = 0; place < PLACES; place += 1) {
    if (signal.aborted || (await hold(place, { ifAvailable: true }, signal, lost))) return;
  }
  const oldest = (lastTaken() + 1) % PLACES;
  await hold(oldest, { steal: true }, signal, lost);
}

/**
 * Whether the place is ours now.
 * @param {number} place
 * @param {LockOptions} options
 * @param {AbortSignal} signal
 * @param {() => void} lost
 * @returns {Promise<boolean>}
 */
function hold(place, options, signal, lost) {
  return new Promise((answer) => {
    const held = navigator.locks.request(`breakglass-stream-${place}`, options, async (lock) => {
      if (lock === null) return answer(false);
      noteTaken(place);
      answer(true);
      if (signal.aborted) return;
      await new Promise((end) => signal.addEventListener("abort", end, { once: true }));
    });
    held.catch(() => {
      answer(false);
      if (!signal.aborted) lost();
    });
  });
}

const KEY = "breakglass.place";

function lastTaken() {
  try {
    return Number.parseInt(localStorage.getItem(KEY) ?? "0", 10) || 0;
  } catch {
    return 0;
  }
}

/** @param {number} place */
function noteTaken(place) {
  try {
    localStorage.setItem(KEY, String(place));
  } catch {
    // Then the first place changes hands.
  }
}
