// What is taken by hand on the picture: the frame that moves the atlas, and markers.

import { Lost, Refused, get, numbers } from "./server.js";
import {
  about, apply, carried, inverse, moved, multiply, placed, rotation, shift,
} from "./matrix.js";
import { drawing, part, tell, tellFault } from "./page.js";
import {
  commit, current, forgetDraft, happened, mayEdit, on, propose, saveMarkers, shownForward,
  shownMarkers, state,
} from "./state.js";
import { isOpen, pixelAt, pixelInTheMiddle, toStage, whenViewMoves } from "./viewer.js";

const SLOW = 0.2; // with Shift, the atlas follows the hand this far
const ARM = 34; // pixels of the screen from the frame to the handles that turn and shear
const EDGE = 0.16; // of the picture, around the frame

export const hands = { tool: "look", selected: null };

const toolListeners = new Set();
export const whenToolChanges = (listener) => toolListeners.add(listener);

export function chooseTool(tool) {
  hands.tool = tool;
  part("stage").dataset.tool = tool;
  toolListeners.forEach((listener) => listener());
  draw();
}

let frame = null; // { forward, corners }: where the frame was put on the picture
let held = null; // what is being dragged

const root = () => part("hands");

export function startHands() {
  const svg = root();
  svg.append(
    drawing("rect", { class: "ground", width: "100%", height: "100%" }),
    drawing("g", { class: "frame" },
      drawing("path", { class: "arms" }),
      drawing("path", { class: "rim under" }),
      drawing("path", { class: "rim", "data-hand": "shift" }),
      ...["scale", "scale", "scale", "scale"].map((hand, k) => handle(hand, k)),
      ...["stretch", "stretch", "stretch", "stretch"].map((hand, k) => handle(hand, k)),
      handle("turn", 0),
      handle("shear", 0),
      drawing("path", { class: "cross" })),
    drawing("g", { class: "pins" }),
  );
  svg.addEventListener("pointerdown", take);
  svg.addEventListener("pointermove", follow);
  svg.addEventListener("pointerup", leave);
  svg.addEventListener("pointercancel", giveUp);
  whenViewMoves(draw);
  on("draft markers sections proposal tab", draw);
  on("section", () => {
    frame = null;
    hands.selected = null;
    draw();
  });
}

const TITLES = {
  scale: "Make larger or smaller",
  stretch: "Stretch one way",
  turn: "Turn",
  shear: "Shear",
};

function handle(hand, which) {
  const shape = {
    scale: drawing("rect", { x: -6, y: -6, width: 12, height: 12 }),
    stretch: drawing("rect", { x: -4, y: -7, width: 8, height: 14, rx: 4 }),
    turn: drawing("circle", { r: 7.5 }),
    shear: drawing("path", { d: "M-9 0 L0 -6.5 L9 0 L0 6.5 Z" }),
  }[hand];
  return drawing("g", { class: `handle ${hand}`, "data-hand": hand, "data-which": which },
    drawing("title", {}, TITLES[hand]), drawing("circle", { class: "reach", r: 18 }), shape);
}

// ---- where things are

function corners() {
  const section = current();
  if (!frame) {
    const [w, h] = [section.width, section.height];
    frame = {
      forward: section.forward,
      corners: [[EDGE, EDGE], [1 - EDGE, EDGE], [1 - EDGE, 1 - EDGE], [EDGE, 1 - EDGE]]
        .map(([x, y]) => [x * w, y * h]),
    };
  }
  const way = carried(frame.forward, shownForward());
  return frame.corners.map((corner) => moved(way, corner));
}

const between = ([a, b], [c, d], share = 0.5) => [a + (c - a) * share, b + (d - b) * share];

function draw() {
  if (!isOpen()) return;
  const view = toStage();
  const svg = root();
  svg.classList.toggle("still", state.readonly || state.proposal !== null);
  if (hands.tool === "move") drawFrame(svg, view);
  drawPins(svg, view);
}

function drawFrame(svg, view) {
  const at = corners().map((corner) => moved(view, corner));
  const path = `M${at.map((one) => one.map((value) => value.toFixed(1)).join(" ")).join("L")}Z`;
  svg.querySelectorAll(".rim").forEach((one) => one.setAttribute("d", path));
  const centre = between(at[0], at[2]);
  const put = (one, [x, y], angle = 0) => one.setAttribute(
    "transform", `translate(${x.toFixed(1)} ${y.toFixed(1)}) rotate(${angle.toFixed(1)})`,
  );
  const slope = ([a, b], [c, d]) => Math.atan2(d - b, c - a) * 180 / Math.PI;
  svg.querySelectorAll(".scale").forEach((one, k) => put(one, at[k], slope(at[0], at[1])));
  svg.querySelectorAll(".stretch").forEach((one, k) => {
    const [from, to] = [at[k], at[(k + 1) % 4]];
    put(one, between(from, to), slope(from, to) + 90);
  });
  const [above, below] = [between(at[0], at[1]), between(at[2], at[3])];
  const [top, bottom] = [outward(centre, above), outward(centre, below)];
  put(svg.querySelector(".turn"), top);
  put(svg.querySelector(".shear"), bottom, slope(at[3], at[2]));
  const line = (a, b) => `M${a[0]} ${a[1]}L${b[0]} ${b[1]}`;
  svg.querySelector(".arms").setAttribute("d", line(above, top) + line(below, bottom));
  const [x, y] = centre;
  svg.querySelector(".cross").setAttribute("d", `M${x - 9} ${y}H${x + 9}M${x} ${y - 9}V${y + 9}`);
}

function outward(from, to) {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
  return between(from, to, 1 + ARM / length);
}

function drawPins(svg, view) {
  const markers = state.proposal ? [] : shownMarkers();
  const group = svg.querySelector(".pins");
  while (group.children.length > markers.length) group.lastChild.remove();
  while (group.children.length < markers.length) {
    group.append(drawing("g", { class: "pin" },
      drawing("path", { class: "way" }),
      drawing("circle", { class: "from", r: 3 }),
      drawing("g", { class: "head" },
        drawing("circle", { class: "reach", r: 16 }),
        drawing("circle", { class: "dot", r: 7.5 }),
        drawing("text", { y: 3.5 }))));
  }
  markers.forEach((marker, k) => {
    const pin = group.children[k];
    const [to, from] = [moved(view, marker.image), moved(view, marker.flat)];
    pin.dataset.pin = k;
    pin.classList.toggle("selected", hands.selected === k);
    pin.querySelector(".way").setAttribute("d", `M${from[0]} ${from[1]}L${to[0]} ${to[1]}`);
    pin.querySelector(".from").setAttribute("transform", `translate(${from[0]} ${from[1]})`);
    pin.querySelector(".head").setAttribute("transform", `translate(${to[0]} ${to[1]})`);
    pin.querySelector("text").textContent = k + 1;
  });
}

// ---- the pointer

function take(event) {
  if (event.button !== 0 || !isOpen() || held) return;
  const pin = event.target.closest(".pin");
  const hand = event.target.closest("[data-hand]")?.dataset.hand;
  const adding = hands.tool === "markers" && event.target.classList.contains("ground");
  if (!pin && !hand && !adding) return;
  event.stopPropagation(); // it does not pan the picture
  event.preventDefault();
  part("stage").focus({ preventScroll: true });
  if (!mayEdit()) return;
  root().setPointerCapture(event.pointerId);
  if (pin) holdPin(Number(pin.dataset.pin), event);
  else if (hand) holdFrame(hand, Number(event.target.closest("[data-hand]").dataset.which ?? 0), event);
  else addMarker(pixelAt(event), event.pointerId);
}

function holdFrame(hand, which, event) {
  const at = corners();
  held = { hand, which, pointer: event.pointerId, from: pixelAt(event), start: shownForward(), at };
}

function holdPin(which, event) {
  hands.selected = which;
  commit();
  const markers = shownMarkers();
  held = {
    hand: "pin", which, markers, pointer: event.pointerId, from: pixelAt(event), image: markers[which].image,
    ready: Promise.resolve(),
  };
  toolListeners.forEach((listener) => listener());
  draw();
}

function follow(event) {
  if (!held || event.pointerId !== held.pointer) return;
  event.stopPropagation();
  const now = pixelAt(event);
  const at = event.shiftKey ? between(held.from, now, SLOW) : now;
  if (held.hand === "pin") {
    held.to = [0, 1].map((k) => held.image[k] + at[k] - held.from[k]);
    state.draftMarkers = withPinAt(held, held.to);
    happened("markers");
  } else {
    propose(placed(held.start, movement(held, at)));
  }
}

/** How the atlas moves over the picture while a handle goes from one pixel to another. */
function movement({ hand, which, from, at }, to) {
  const centre = between(at[0], at[2]);
  const [a, b] = [[from[0] - centre[0], from[1] - centre[1]], [to[0] - centre[0], to[1] - centre[1]]];
  if (hand === "shift") return shift(to[0] - from[0], to[1] - from[1]);
  if (hand === "turn") {
    const angle = Math.atan2(a[0] * b[1] - a[1] * b[0], a[0] * b[0] + a[1] * b[1]);
    return rotation(centre, angle * 180 / Math.PI);
  }
  if (hand === "scale") {
    const by = Math.max(0.2, (a[0] * b[0] + a[1] * b[1]) / (a[0] ** 2 + a[1] ** 2));
    return about(centre, [[by, 0], [0, by]]);
  }
  // along the frame's own sides, so that it works on a frame that is turned
  const sides = [[at[1][0] - at[0][0], at[3][0] - at[0][0]], [at[1][1] - at[0][1], at[3][1] - at[0][1]]];
  const own = about([0, 0], sides);
  const [here, there] = [a, b].map((way) => moved(inverse(own), way));
  let linear;
  if (hand === "shear") {
    linear = [[1, (there[0] - here[0]) / here[1]], [0, 1]];
  } else {
    const axis = which % 2 === 0 ? 1 : 0;
    const by = Math.max(0.2, there[axis] / here[axis]);
    linear = axis === 0 ? [[by, 0], [0, 1]] : [[1, 0], [0, by]];
  }
  const map = multiply(own, multiply(about([0, 0], linear), inverse(own)));
  return multiply(shift(...centre), multiply(map, shift(-centre[0], -centre[1])));
}

function withPinAt({ markers, which }, image) {
  return markers.map((marker, k) => (k === which ? { ...marker, image } : marker));
}

async function leave(event) {
  if (!held || event.pointerId !== held.pointer) return;
  const done = held;
  held = null;
  event.stopPropagation();
  part("stage").classList.add(done.hand === "pin" ? "marked" : "moved"); // needs no hint any more
  if (done.hand !== "pin") commit();
  else if (done.to || done.fresh) await settle(done);
}

/** Save a marker that was dragged or added, once it is known where it began. */
async function settle(done) {
  const { image_id } = current();
  try {
    await done.ready;
  } catch (error) {
    if (!(error instanceof Lost || error instanceof Refused)) throw error;
    tellFault(error);
    forgetDraft();
    return;
  }
  if (current().image_id === image_id) {
    saveMarkers(withPinAt(done, done.to ?? done.image));
    toolListeners.forEach((listener) => listener());
  }
}

function giveUp() {
  if (!held) return;
  const { start, hand } = held;
  held = null;
  if (hand === "pin") {
    state.draftMarkers = null;
    happened("markers");
  } else if (start) {
    forgetDraft();
  }
}

/** Give up what is being dragged; whether anything was. */
export function cancelDrag() {
  const was = held !== null;
  giveUp();
  return was;
}

// ---- markers

export function structureAt([x, y], markers = shownMarkers()) {
  return get(`/api/sections/${current().image_id}/structure`, {
    x, y,
    forward: numbers(shownForward()),
    markers: state.proposal ? null : asked(markers),
    job: state.proposal?.show === "after" ? state.proposal.job : null,
  });
}

function asked(markers) {
  return JSON.stringify(markers.map((marker) => [...marker.flat, ...marker.image]));
}

/** Pin what is shown at a pixel of the picture; it can be dragged on by a pointer. */
function addMarker(pixel, pointer) {
  if (!inReach(pixel)) {
    tell("A marker must lie on the picture.");
    return;
  }
  commit();
  const before = shownMarkers();
  const fresh = { image: pixel, flat: pixel };
  const adding = {
    hand: "pin", pointer, fresh: true, from: pixel, image: pixel, which: before.length,
    markers: [...before, fresh],
    ready: structureAt(pixel, before).then((found) => { fresh.flat = found.flat; }),
  };
  hands.selected = before.length;
  state.draftMarkers = adding.markers;
  happened("markers");
  if (pointer === null) settle(adding);
  else held = adding;
}

function inReach([x, y]) {
  const { width, height } = current();
  return x > -0.09 * width && y > -0.09 * height && x < 1.09 * width && y < 1.09 * height;
}

export function addMarkerInTheMiddle() {
  if (mayEdit()) addMarker(pixelInTheMiddle(), null);
}

export function selectMarker(which) {
  hands.selected = which;
  draw();
}

export function deleteMarker(which = hands.selected) {
  if (which === null || !shownMarkers()[which] || !mayEdit()) return false;
  const left = shownMarkers().filter((_, k) => k !== which);
  hands.selected = left.length ? Math.min(which, left.length - 1) : null;
  saveMarkers(left);
  return true;
}

let settling = 0;

/** Move the selected marker by pixels of the screen. */
export function nudgeMarker(dx, dy) {
  if (!mayEdit()) return;
  const scale = toStage()[0][0];
  const which = hands.selected;
  const markers = shownMarkers().map((marker, k) => (k === which
    ? { ...marker, image: [marker.image[0] + dx / scale, marker.image[1] + dy / scale] } : marker));
  state.draftMarkers = markers;
  happened("markers");
  clearTimeout(settling);
  settling = setTimeout(() => { if (state.draftMarkers === markers) saveMarkers(markers); }, 500);
}

/** Where the atlas's place of a marker is in the brain, and how far the marker moves it, in µm. */
export function markerFigures(marker) {
  const forward = shownForward();
  const [to, from] = [apply(forward, marker.image), apply(forward, marker.flat)];
  return Math.hypot(...to.map((value, k) => value - from[k]));
}
