// The atlas over the picture. The server draws it for the place that is proposed, one drawing at a
// time; until the next one is there, the last one is carried along.

import { Newest, Refused, getPicture, numbers } from "./server.js";
import { IDENTITY, carried, inverse, moved, multiply } from "./matrix.js";
import { part, tellFault } from "./page.js";
import { current, on, shownForward, shownMarkers, state } from "./state.js";
import { isOpen, isStill, stageSize, toStage, whenViewMoves } from "./viewer.js";

const MOST = 2048; // pixels along a side of a drawing
const QUICK = 150_000; // pixels in all of a drawing while something is dragged
const MARGIN = 0.15; // beyond what is seen, so that a little panning needs no drawing
const BEYOND = 0.3; // of the picture's size, around which the atlas is drawn

export const look = {
  fill: "labels", // or "template", "none"
  opacity: 0.35,
  borders: true,
  depth: null,
  mode: "over", // or "swipe", "blink"
  edge: 0.5,
  hidden: false, // while somebody holds the key
};

const LINES = {
  blue: ["#0060a8", "rgb(255 255 255 / .7)"],
  orange: ["#c24a00", "rgb(255 255 255 / .7)"],
  sky: ["#6cc6ff", "rgb(0 0 0 / .6)"],
  yellow: ["#f0e442", "rgb(0 0 0 / .6)"],
};
export const lines = { colour: "blue" };

let drawn = null; // what the canvases show: { image_id, forward, x0, y0, scale }
let blinkedOff = false;
const timings = []; // of the last drawings while something was dragged, in ms

const drawing = new Newest(draw);

export function startOverlay() {
  whenViewMoves((event) => {
    place();
    if (event !== "update-viewport" || !drawn) redraw();
    else if (!covers()) redraw();
  });
  on("draft markers proposal sections", () => {
    place();
    redraw();
  });
  on("section", () => {
    drawn = null;
    part("atlas").classList.add("empty");
  });
  setInterval(() => {
    blinkedOff = look.mode === "blink" && !blinkedOff;
    seen();
  }, 650);
}

/** Whether the atlas is drawn anew for what is shown now, and nothing moves. */
export function isDrawn() {
  return drawn !== null && !drawn.quick && drawing.idle && isStill() && drawn.forward === shownForward() && covers();
}

/** How long redrawing took while something was dragged; for those who measure. */
export const redrawTimes = () => [...timings];

export function redraw() {
  if (isOpen()) drawing.ask();
}

/** Show what has been chosen of it. */
export function seen() {
  const atlas = part("atlas");
  atlas.classList.toggle("off", look.hidden || blinkedOff);
  part("fill").style.opacity = look.opacity;
  part("fill").hidden = look.fill === "none";
  part("borders").hidden = !look.borders;
  const swipe = look.mode === "swipe";
  atlas.style.clipPath = swipe ? `inset(0 0 0 ${look.edge * 100}%)` : "none";
  const edge = part("edge");
  edge.hidden = !swipe;
  edge.style.left = `${look.edge * 100}%`;
  edge.setAttribute("aria-valuenow", Math.round(look.edge * 100));
}

const moving = () => state.draft !== null || state.draftMarkers !== null;

function box() {
  const [width, height] = stageSize();
  const back = inverse(toStage());
  const [left, top] = moved(back, [-MARGIN * width, -MARGIN * height]);
  const [right, bottom] = moved(back, [(1 + MARGIN) * width, (1 + MARGIN) * height]);
  const section = current();
  const [wide, high] = [BEYOND * section.width, BEYOND * section.height];
  return [
    Math.max(left, -wide), Math.max(top, -high),
    Math.min(right, section.width + wide), Math.min(bottom, section.height + high),
  ];
}

function covers() {
  const [width, height] = stageSize();
  const section = current();
  const back = inverse(toStage());
  const [left, top] = moved(back, [0, 0]);
  const [right, bottom] = moved(back, [width, height]);
  const fits = drawn.scale * toStage()[0][0];
  return (left >= drawn.x0 || drawn.x0 <= -BEYOND * section.width)
    && (top >= drawn.y0 || drawn.y0 <= -BEYOND * section.height)
    && (right <= drawn.x1 || drawn.x1 >= (1 + BEYOND) * section.width)
    && (bottom <= drawn.y1 || drawn.y1 >= (1 + BEYOND) * section.height)
    && fits < 1.6 && fits > 0.3;
}

async function draw() {
  const section = current();
  const forward = shownForward();
  const [x0, y0, x1, y1] = box();
  if (!(x1 > x0 && y1 > y0)) return;
  const began = performance.now();
  const dragged = moving();
  // one pixel of the screen; while something moves, coarser, so that it follows the hand
  const fine = 1 / (toStage()[0][0] * Math.min(devicePixelRatio, 2));
  const quick = Math.sqrt((x1 - x0) * (y1 - y0) / QUICK);
  const scale = Math.max(fine, dragged ? quick : 0, (x1 - x0) / MOST, (y1 - y0) / MOST);
  const values = {
    width: Math.max(1, Math.min(MOST, Math.round((x1 - x0) / scale))),
    height: Math.max(1, Math.min(MOST, Math.round((y1 - y0) / scale))),
    x0, y0, scale,
    forward: numbers(forward),
    depth: look.depth,
    markers: markersAsked(),
    job: state.proposal?.sections.has(section.image_id) && state.proposal.show === "after"
      ? state.proposal.job : null,
  };
  const path = `/api/sections/${section.image_id}/overlay`;
  let fill;
  let borders;
  try {
    [fill, borders] = await Promise.all([
      look.fill === "none" ? null : getPicture(path, { ...values, kind: look.fill }),
      look.borders ? getPicture(path, { ...values, kind: "borders" }) : null,
    ]);
  } catch (error) {
    // such as markers that fold the section while one of them is dragged
    if (error instanceof Refused && error.status < 429) tellFault(error);
    else setTimeout(redraw, 2000); // it was busy
    throw error;
  }
  if (section.image_id !== current().image_id) return;
  paint(part("fill"), fill, values);
  paintLines(part("borders"), borders, values);
  drawn = { forward, quick: dragged, x0, y0, x1: x0 + values.width * scale, y1: y0 + values.height * scale, scale };
  part("atlas").classList.remove("empty");
  place();
  seen();
  if (dragged) {
    timings.push(performance.now() - began);
    timings.splice(0, timings.length - 500);
    if (!moving()) redraw();
  }
}

function markersAsked() {
  if (state.proposal) return null;
  return JSON.stringify(shownMarkers().map((marker) => [...marker.flat, ...marker.image]));
}

function paint(canvas, picture, { width, height }) {
  canvas.width = width;
  canvas.height = height;
  if (picture) canvas.getContext("2d").drawImage(picture, 0, 0);
}

/** Lines in the chosen colour with a rim, so that they are seen on dark and on light. */
function paintLines(canvas, picture, { width, height }) {
  canvas.width = width;
  canvas.height = height;
  if (!picture) return;
  const [colour, rim] = LINES[lines.colour];
  const tinted = (fill) => {
    const made = new OffscreenCanvas(width, height);
    const to = made.getContext("2d");
    to.drawImage(picture, 0, 0);
    to.globalCompositeOperation = "source-in";
    to.fillStyle = fill;
    to.fillRect(0, 0, width, height);
    return made;
  };
  const to = canvas.getContext("2d");
  const around = tinted(rim);
  for (const [dx, dy] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) to.drawImage(around, dx, dy);
  to.drawImage(tinted(colour), 0, 0);
}

/** Carry the last drawing to where the atlas is now. */
function place() {
  if (!drawn || !isOpen()) return;
  const onPicture = [[drawn.scale, 0, drawn.x0 - 0.5], [0, drawn.scale, drawn.y0 - 0.5], [0, 0, 1]];
  const now = shownForward();
  const way = drawn.forward === now ? IDENTITY : carried(drawn.forward, now);
  const [[a, c, e], [b, d, f]] = multiply(toStage(), multiply(way, onPicture));
  const transform = `matrix(${a},${b},${c},${d},${e},${f})`;
  part("fill").style.transform = transform;
  part("borders").style.transform = transform;
}
