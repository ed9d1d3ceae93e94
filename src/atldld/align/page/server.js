// Talking to the server on this machine: the key in the address, errors as sentences, and what
// happens when the line is cut.

const random = crypto.getRandomValues(new Uint32Array(4));

/** This tab, among others that show the same page. */
export const TAB = [...random].map((part) => part.toString(16).padStart(8, "0")).join("");

const token = readToken();

function readToken() {
  const address = new URL(location.href);
  const given = address.searchParams.get("token");
  let kept = null;
  try {
    if (given) sessionStorage.setItem("atldld-token", given);
    kept = sessionStorage.getItem("atldld-token");
  } catch {
    // a browser that keeps nothing still has the address
  }
  if (given && kept === given) {
    // so that it is in no screenshot and no history
    address.searchParams.delete("token");
    history.replaceState(null, "", address);
  }
  return given ?? kept;
}

export const hasToken = token !== null;

/** The server said no, in a sentence. */
export class Refused extends Error {
  constructor(status, answer) {
    super(answer.error ?? `The server answered ${status}.`);
    this.status = status;
    this.hint = answer.hint ?? "";
    this.answer = answer;
  }
}

/** Nobody answered. */
export class Lost extends Error {}

const listeners = new Set();
let connected = true;

export function whenConnectionChanges(listener) {
  listeners.add(listener);
}

function connection(now) {
  if (now === connected) return;
  connected = now;
  listeners.forEach((listener) => listener(now));
}

async function ask(path, options, patience) {
  let response;
  try {
    response = await fetch(path, {
      ...options,
      headers: { Authorization: `Bearer ${token}`, "X-Tab": TAB, ...options.headers },
      signal: AbortSignal.timeout(patience),
      cache: "no-store",
    });
    if (response.ok) {
      connection(true);
      return response;
    }
  } catch (error) {
    // what takes long is no line that is cut; the signs of life tell
    if (error.name !== "TimeoutError") connection(false);
    throw new Lost("The program does not answer.", { cause: error });
  }
  connection(true);
  throw new Refused(response.status, await response.json().catch(() => ({})));
}

function query(path, values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

export async function get(path, values = {}) {
  return body(ask(query(path, values), {}, 60_000));
}

export async function getText(path) {
  return (await ask(path, {}, 60_000)).text();
}

export async function getPicture(path, values) {
  const response = await ask(query(path, values), {}, 60_000);
  return createImageBitmap(await whole(() => response.blob()));
}

/** The number of a structure at each pixel; their colours stand in the atlas of the data set. */
export async function getNumbers(path, values) {
  const response = await ask(query(path, values), {}, 60_000);
  return whole(async () => new Uint16Array(await response.arrayBuffer()));
}

export async function post(path, sent = {}) {
  return body(ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(sent),
  }, 120_000));
}

async function body(asked) {
  const response = await asked;
  return whole(() => response.json());
}

async function whole(read) {
  try {
    return await read();
  } catch (error) {
    connection(false);
    throw new Lost("The answer did not arrive whole.", { cause: error });
  }
}

/** The address of a picture that the browser itself loads. */
export function address(path, values = {}) {
  const [bare, had] = path.split("?");
  return `${bare}?${new URLSearchParams([...new URLSearchParams(had ?? ""), ...Object.entries(values), ["token", token]])}`;
}

/** A matrix as the server reads it. */
export function numbers(forward) {
  return forward.flat().join(",");
}

/** Work of which at most one is under way: of what is asked meanwhile, only the newest is done. */
export class Newest {
  #work;
  #waiting = null;
  #busy = false;

  #pause;

  /** `pause`: milliseconds between two of them, so that a quick hand does not ask a slow server. */
  constructor(work, pause = 0) {
    this.#work = work;
    this.#pause = pause;
  }

  /** Whether nothing is under way, nor waits. */
  get idle() {
    return !this.#busy;
  }

  async ask(...wanted) {
    this.#waiting = wanted;
    if (this.#busy) return;
    this.#busy = true;
    while (this.#waiting) {
      const next = this.#waiting;
      this.#waiting = null;
      try {
        await this.#work(...next);
      } catch (error) {
        if (!(error instanceof Lost || error instanceof Refused)) {
          this.#busy = false;
          throw error;
        }
      }
      if (this.#pause) await new Promise((resolve) => { setTimeout(resolve, this.#pause); });
    }
    this.#busy = false;
  }
}
