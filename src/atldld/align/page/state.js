// What the page knows: the data set as the server has it, the section that is shown, and what is
// being moved and not saved yet.

import { Lost, Refused, get, post } from "./server.js";
import { same } from "./matrix.js";
import { part, tell, tellFault } from "./page.js";

export const state = {
  dataset: null,
  sections: [], // in order of depth
  at: 0, // which of them is shown
  readonly: false,
  draft: null, // { image_id, forward, plane } that is being moved
  draftMarkers: null, // markers that are being moved
  proposal: null, // of a fit: { job, sections: Map, show: "before" | "after" }
  savedAt: null,
  waiting: 0, // edits that are not saved yet
};

const listeners = new Map();

/** Call `listener` whenever one of the named things happens. */
export function on(names, listener) {
  for (const name of names.split(" ")) {
    if (!listeners.has(name)) listeners.set(name, new Set());
    listeners.get(name).add(listener);
  }
}

/**
 * Say that something happened:
 * "sections" (the server's answer), "section" (another one is shown), "draft" (the atlas is being
 * moved), "markers" (markers are), "saving", "tab" (who may edit), "proposal".
 */
export function happened(name) {
  listeners.get(name)?.forEach((listener) => listener());
}

export const current = () => state.sections[state.at];

/** Where the atlas lies over the section that is shown. */
export function shownForward() {
  const section = current();
  const proposed = state.proposal?.sections.get(section.image_id);
  if (proposed) return proposed[state.proposal.show].forward;
  return state.draft?.image_id === section.image_id ? state.draft.forward : section.forward;
}

export function shownMarkers() {
  return state.draftMarkers ?? current().markers;
}

export function middle(section = current()) {
  return [(section.width - 1) / 2, (section.height - 1) / 2];
}

export const maySave = () => !state.readonly && state.proposal === null;

/** Whether anything may be changed now; says why not. */
export function mayEdit() {
  if (state.readonly) tell("This tab only looks.", "Choose “Edit in this tab” above to change things here.");
  else if (state.proposal) tell("A fit waits for your answer.", "Accept or discard it first.");
  return maySave();
}

// ---- the data set

export async function load() {
  take(await get("/api/dataset"));
}

function take(dataset) {
  const shown = state.sections.length ? current().image_id : null;
  state.dataset = dataset;
  // the order stays while things are moved; it is that of depth when the page is opened
  const places = new Map(state.sections.map((section, k) => [section.image_id, k]));
  state.sections = [...dataset.sections].sort((a, b) => places.size
    ? places.get(a.image_id) - places.get(b.image_id)
    : a.plane.depth_um - b.plane.depth_um || a.number - b.number);
  if (shown !== null) state.at = Math.max(0, state.sections.findIndex((one) => one.image_id === shown));
  state.readonly = dataset.readonly;
  happened("sections");
  happened("tab");
}

function takeAnswer(answer) {
  const changed = new Map(answer.sections.map((section) => [section.image_id, section]));
  state.sections = state.sections.map((section) => changed.get(section.image_id) ?? section);
  Object.assign(state.dataset, {
    revision: answer.revision, can_undo: answer.can_undo, can_redo: answer.can_redo,
    undo: answer.undo, redo: answer.redo,
  });
  state.savedAt = answer.saved ?? new Date().toISOString();
  happened("sections");
}

export async function show(place) {
  const to = Math.min(Math.max(place, 0), state.sections.length - 1);
  if (to === state.at) return;
  commit();
  state.draftMarkers = null;
  state.at = to;
  happened("section");
}

export function showSection(imageId) {
  const place = state.sections.findIndex((section) => section.image_id === imageId);
  if (place >= 0) show(place);
}

// ---- moving

let still = 0;
let draftVersion = 0;

/** Show the atlas somewhere else; `commit` saves it. */
export function propose(forward, plane = null) {
  if (!mayEdit()) return false;
  state.draft = { image_id: current().image_id, forward, plane };
  draftVersion += 1;
  clearTimeout(still);
  happened("draft");
  return true;
}

/** Save what has been moved, once nothing has been moved for a moment. */
export function commitSoon() {
  clearTimeout(still);
  still = setTimeout(commit, 500);
}

export function commit() {
  clearTimeout(still);
  const draft = state.draft;
  if (!draft || draft.sent === draftVersion) return;
  draft.sent = draftVersion;
  const version = draftVersion;
  const section = state.sections.find((one) => one.image_id === draft.image_id);
  const forget = () => {
    if (draftVersion === version) {
      state.draft = null;
      happened("draft");
    }
  };
  if (same(section.forward, draft.forward)) {
    forget();
    return;
  }
  edit({
    kind: "place",
    image_id: draft.image_id,
    forward: draft.forward,
    carry: part("carry").value || false,
  }, forget);
}

/** Give up what is being moved. */
export function forgetDraft() {
  clearTimeout(still);
  if (!state.draft && !state.draftMarkers) return;
  state.draft = null;
  state.draftMarkers = null;
  draftVersion += 1;
  happened("draft");
  happened("markers");
}

export function saveMarkers(markers) {
  const { image_id } = current();
  state.draftMarkers = markers;
  happened("markers");
  const forget = () => {
    if (state.draftMarkers === markers) state.draftMarkers = null;
    happened("markers");
  };
  edit({ kind: "markers", image_id, markers }, forget);
}

// ---- saving: one after the other, and none is lost when the line is cut

const queue = [];
let busy = false;

export function edit(body, whenDone = () => {}) {
  queue.push({ path: "/api/edit", body, whenDone });
  return pump();
}

export function undo() {
  return step("/api/undo", "There is nothing to undo.");
}

export function redo() {
  return step("/api/redo", "There is nothing to redo.");
}

function step(path, otherwise) {
  if (!mayEdit()) return null;
  commit();
  queue.push({ path, body: {}, whenDone: forgetDraft, otherwise });
  return pump();
}

/** Send something that changes the data set and answers as an edit does. */
export function change(path, body = {}) {
  return new Promise((resolve) => {
    queue.push({ path, body, whenDone: resolve });
    pump();
  });
}

async function pump() {
  if (busy) return;
  busy = true;
  while (queue.length) {
    saving(queue.length);
    const next = queue[0];
    try {
      await send(next);
    } catch (error) {
      if (error instanceof Lost) {
        await new Promise((resolve) => { setTimeout(resolve, 1000); });
        continue; // it stays the next one
      }
      queue.shift();
      next.whenDone(null);
      if (!(error instanceof Refused)) throw error;
      tellFault(error);
      if (error.status === 423) await load();
      continue;
    }
    queue.shift();
  }
  busy = false;
  saving(0);
}

async function send(next) {
  if (next.otherwise && !state.dataset[next.path === "/api/undo" ? "can_undo" : "can_redo"]) {
    tell(next.otherwise);
    next.whenDone(null);
    return;
  }
  let answer;
  try {
    answer = await post(next.path, { ...next.body, revision: state.dataset.revision });
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 409) throw error;
    // Its answer may have been lost on the way. An edit says what is to be, so that it does nothing
    // a second time; a step back would go back twice.
    await load();
    if (next.path !== "/api/edit") {
      next.whenDone(null);
      return;
    }
    answer = await post(next.path, { ...next.body, revision: state.dataset.revision });
  }
  if (answer.sections) takeAnswer(answer);
  next.whenDone(answer);
}

function saving(count) {
  state.waiting = count;
  happened("saving");
}

// ---- who may edit

/** Say that this tab is there; ask to be the one that edits with `take`. */
export async function heartbeat(take = false) {
  const answer = await post("/api/lock", { take });
  // of another tab, or quality marks that have been found meanwhile
  const other = (answer.revision !== state.dataset.revision || answer.news !== state.dataset.news) && !busy;
  if (answer.readonly !== state.readonly || other) await load();
  if (answer.readonly !== state.readonly) {
    state.readonly = answer.readonly;
    happened("tab");
  }
}
