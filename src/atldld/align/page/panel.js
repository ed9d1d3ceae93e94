// The panel at the right: what is known of the section, its numbers, its markers, its note.

import { Newest, Refused, get, numbers } from "./server.js";
import { placed, rotation, shift, pushed } from "./matrix.js";
import { element, part, say, tellFault } from "./page.js";
import {
  commit, commitSoon, current, edit, forgetDraft, mayEdit, middle, on, propose, shownForward, shownMarkers, state,
} from "./state.js";
import {
  addMarkerInTheMiddle, deleteMarker, hands, markerFigures, nudgeMarker, selectMarker, structureAt,
  whenToolChanges,
} from "./hands.js";
import { STATUS, micrometres, plural, rounded } from "./words.js";

/** The numbers that people edit: where in `plane`, its factor on the page, digits, step and unit. */
const FIELDS = [
  { id: "depth", of: ["depth_um"], digits: 0, step: 10 },
  { id: "rotation", of: ["rotation_deg"], digits: 2, step: 0.25 },
  { id: "tilt-1", of: ["tilt_1_deg"], digits: 2, step: 0.25 },
  { id: "tilt-2", of: ["tilt_2_deg"], digits: 2, step: 0.25 },
  { id: "shift-1", of: ["shift_um", 0], digits: 0, step: 10 },
  { id: "shift-2", of: ["shift_um", 1], digits: 0, step: 10 },
  { id: "scale-1", of: ["scale", 0], by: 100, digits: 2, step: 0.5 },
  { id: "scale-2", of: ["scale", 1], by: 100, digits: 2, step: 0.5 },
  { id: "shear", of: ["shear"], by: 100, digits: 2, step: 0.5 },
];

let plane = null; // the numbers of what is shown

const asking = new Newest(async () => {
  const forward = shownForward();
  const section = current();
  const found = await get(`/api/sections/${section.image_id}/plane`, { forward: numbers(forward) });
  if (forward === shownForward()) fillNumbers(found.plane);
}, 50);

const typing = new Newest(async (wanted) => {
  const { image_id } = current();
  let found;
  try {
    found = await get(`/api/sections/${image_id}/plane`, { plane: JSON.stringify(wanted) });
  } catch (error) {
    if (error instanceof Refused) {
      tellFault(error);
      plane = null;
      drawNumbers();
    }
    throw error;
  }
  if (image_id === current().image_id && propose(found.forward, wanted)) commitSoon();
});

/** Whether numbers were typed that are not shown yet. */
export const isTyping = () => !typing.idle;

export function startPanel() {
  for (const { id, step, digits } of FIELDS) {
    const input = part(id);
    input.step = "any"; // or the browser calls what lies between two steps wrong
    const read = () => { if (Number.isFinite(input.valueAsNumber)) typed(); };
    input.addEventListener("input", read);
    input.addEventListener("keydown", (event) => {
      const way = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (event.key === "Enter") commit();
      if (!way || input.disabled) return;
      event.preventDefault();
      input.value = rounded(input.valueAsNumber + way * step * (event.shiftKey ? 10 : 1), digits);
      read();
    });
    input.addEventListener("blur", () => fillNumbers(plane));
  }
  part("confirm").addEventListener("click", confirm);
  part("leave-out").addEventListener("click", leaveOut);
  part("note").addEventListener("change", saveNote);
  part("reset").addEventListener("click", () => {
    if (!mayEdit()) return;
    forgetDraft();
    edit({ kind: "reset", image_id: current().image_id });
  });
  part("marker-list").addEventListener("click", (event) => {
    const row = event.target.closest("li");
    if (!row) return;
    const which = Number(row.dataset.marker);
    if (event.target.closest(".delete")) deleteMarker(which);
    else selectMarker(which);
    drawMarkers();
  });
  part("marker-list").addEventListener("keydown", markerKeys);
  part("marker-add").addEventListener("click", addMarkerInTheMiddle);
  whenToolChanges(drawMarkers);
  on("section sections", drawSection);
  on("section sections draft proposal", drawNumbers);
  on("section sections markers proposal", drawMarkers);
  on("tab proposal section sections", () => {
    const still = state.readonly || state.proposal !== null;
    for (const id of ["numbers", "marks", "check", "carry", "reset"]) part(id).disabled = still;
  });
}

// ---- numbers

const valueIn = (from, [key, k]) => (k === undefined ? from[key] : from[key][k]);

function fillNumbers(found) {
  if (!found) return;
  plane = found;
  for (const { id, of, by = 1, digits } of FIELDS) {
    const input = part(id);
    if (document.activeElement === input && input.matches(":focus") && state.draft?.plane) continue;
    const text = rounded(valueIn(found, of) * by, digits);
    if (input.value !== text) input.value = text;
  }
}

function drawNumbers() {
  if (state.draft?.plane) fillNumbers(state.draft.plane);
  else if (state.draft || state.proposal) asking.ask();
  else fillNumbers(current().plane);
}

function typed() {
  const wanted = structuredClone(plane);
  for (const { id, of: [key, k], by = 1, digits } of FIELDS) {
    const value = Number(part(id).value) / by;
    // what was not touched keeps the digits that are not shown
    if (rounded(valueIn(plane, [key, k]) * by, digits) === part(id).value) continue;
    if (k === undefined) wanted[key] = value;
    else wanted[key][k] = value;
  }
  plane = wanted;
  typing.ask(wanted);
}

/** Change one of the numbers by a step, as keys do. */
export function step(key, by) {
  if (!mayEdit() || !plane) return;
  const wanted = structuredClone(plane);
  wanted[key] += by;
  plane = wanted;
  typing.ask(wanted);
}

// ---- keys that need no numbers from the server

export function shiftBy(dx, dy) {
  const { resolution_um: pixel } = current();
  if (propose(placed(shownForward(), shift(dx / pixel, dy / pixel)))) commitSoon();
}

export function rotateBy(degrees) {
  if (propose(placed(shownForward(), rotation(middle(), degrees)))) commitSoon();
}

export function scaleBy(factor) {
  const [x, y] = middle();
  const map = [[factor, 0, x - factor * x], [0, factor, y - factor * y], [0, 0, 1]];
  if (propose(placed(shownForward(), map))) commitSoon();
}

export function shearBy(by) {
  const [, y] = middle();
  if (propose(placed(shownForward(), [[1, by, -by * y], [0, 1, 0], [0, 0, 1]]))) commitSoon();
}

export function deepen(by) {
  if (propose(pushed(shownForward(), tilts().axis, by))) commitSoon();
}

/** The axis that the plane cuts across. */
export function tilts() {
  return { axis: { coronal: 0, transverse: 1, horizontal: 1, sagittal: 2 }[state.dataset.plane] };
}

// ---- the section

function drawSection() {
  const section = current();
  const { mark, name, about } = STATUS[section.status];
  const badge = part("status");
  badge.dataset.status = section.status;
  badge.replaceChildren(element("span", { "aria-hidden": "true" }, `${mark} `), name);
  badge.title = about;
  const confirmed = section.status === "confirmed";
  const out = section.status === "left out";
  say(part("confirm-word"), confirmed ? "Confirmed" : "Confirm");
  part("confirm").setAttribute("aria-pressed", String(confirmed));
  say(part("leave-out-word"), out ? "Left out" : "Leave out");
  part("leave-out").setAttribute("aria-pressed", String(out));
  if (document.activeElement !== part("note")) part("note").value = section.note ?? "";
  part("figures").replaceChildren(...figures(section));
  const reasons = section.quality?.suspicious ? section.quality.reasons : [];
  part("reasons").hidden = reasons.length === 0;
  part("reasons").replaceChildren(
    ...reasons.map((reason) => element("li", {}, element("span", { "aria-hidden": "true" }, "▲ "), reason)),
  );
}

function figures(section) {
  const rows = [];
  const row = (name, value, title = "") => rows.push(
    element("div", { title }, element("dt", {}, name), element("dd", {}, value)),
  );
  if (section.expected_error_um !== null) {
    row("Expected error", micrometres(section.expected_error_um), "What the program expects, before you changed anything");
    row("Nine of ten below", micrometres(section.bound90_um));
  }
  for (const [name, value] of guardRows(section.guard)) row(name, value, section.guard.reason);
  return rows;
}

const GUARD = {
  difference: "Unlike its neighbours",
  detail: "Like the template",
  overlap: "Tissue within the brain",
};

/** What the guard of the last step measured, before and after. */
function guardRows(guard) {
  if (!guard) return [];
  return Object.entries(guard.after)
    .filter(([key, value]) => typeof value === "number" && typeof guard.before[key] === "number")
    .map(([key, value]) => [
      GUARD[key] ?? key.replaceAll("_", " "), `${guard.before[key].toFixed(2)} → ${value.toFixed(2)}`,
    ]);
}

export function confirm() {
  mark("confirmed");
}

export function leaveOut() {
  mark("left out");
}

function mark(status) {
  if (!mayEdit()) return;
  commit();
  const section = current();
  // pressed again, it is as it was before: the server knows whether that is edited or automatic
  edit({ kind: "status", image_id: section.image_id, status: section.status === status ? "edited" : status });
}

function saveNote() {
  const section = current();
  const note = part("note").value;
  if (note !== (section.note ?? "") && mayEdit()) {
    edit({ kind: "note", image_id: section.image_id, note });
  }
}

// ---- markers

function drawMarkers() {
  const markers = state.proposal ? [] : shownMarkers();
  const list = part("marker-list");
  say(part("marker-count"), markers.length ? plural(markers.length, "marker") : "none yet");
  while (list.children.length > markers.length) list.lastChild.remove();
  markers.forEach((marker, k) => {
    if (!list.children[k]) {
      list.append(element("li", { "data-marker": k },
        element("button", { type: "button", class: "choose" }),
        element("button", { type: "button", class: "delete", "aria-label": `Delete marker ${k + 1}` }, "✕")));
    }
    const row = list.children[k];
    row.classList.toggle("selected", hands.selected === k);
    const choose = row.querySelector(".choose");
    choose.setAttribute("aria-pressed", String(hands.selected === k));
    say(choose, `Marker ${k + 1}, moves the atlas ${micrometres(markerFigures(marker))}`);
  });
}

function markerKeys(event) {
  const row = event.target.closest("li");
  if (!row) return;
  const which = Number(row.dataset.marker);
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.key in ways) {
    event.preventDefault();
    event.stopPropagation();
    selectMarker(which);
    const far = event.shiftKey ? 10 : 1;
    nudgeMarker(...ways[event.key].map((value) => value * far));
  } else if (event.key === "Delete" || event.key === "Backspace") {
    event.preventDefault();
    event.stopPropagation();
    deleteMarker(which);
    const left = part("marker-list").children[Math.max(0, which - 1)];
    (left?.querySelector(".choose") ?? part("marker-add")).focus();
  }
}

// ---- the structure under the pointer

const pointing = new Newest(async (pixel) => {
  const section = current();
  const found = await structureAt(pixel);
  if (section.image_id === current().image_id) under(found);
}, 60);

export function pointAt(pixel) {
  pointing.ask(pixel);
}

export function pointAway() {
  say(part("under-name"), "Point at the picture to see what lies there");
  say(part("under-path"), "");
  say(part("under-place"), "");
}

function under({ structure, reference }) {
  const [p, i, r] = reference.map((value) => Math.round(value).toLocaleString("en-US"));
  part("under-name").replaceChildren(
    ...(structure ? [element("b", {}, structure.acronym), ` ${structure.name}`] : ["Outside the brain"]),
  );
  say(part("under-path"), structure ? structure.path.map((one) => one.name ?? one).join(" › ") : "");
  say(part("under-place"), `p ${p}, i ${i}, r ${r} µm`);
}
