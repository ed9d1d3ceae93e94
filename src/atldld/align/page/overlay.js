// The atlas over the picture. The server draws it for the place that is proposed, one drawing at a
// time; until the next one is there, the last one is carried along.

import { Newest, Refused, getNumbers, getPicture, numbers } from "./server.js";
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

// their colour and that of a rim around them: red, green, blue and opacity
const LINES = {
  blue: [[0x00, 0x60, 0xa8, 255], [255, 255, 255, 178]],
  orange: [[0xc2, 0x4a, 0x00, 255], [255, 255, 255, 178]],
  sky: [[0x6c, 0xc6, 0xff, 255], [0, 0, 0, 153]],
  yellow: [[0xf0, 0xe4, 0x42, 255], [0, 0, 0, 153]],
};
export const lines = { colour: "blue" };

let drawn = null; // what the canvases show: { image_id, forward, x0, y0, scale }
let blinkedOff = false;

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

/** What is moved now, and what the last drawing is of; for those who measure. */
export const movedNow = () => state.draftMarkers ?? shownForward();
export const movedThen = () => drawn?.of ?? null;

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
  const of = movedNow();
  const [x0, y0, x1, y1] = box();
  if (!(x1 > x0 && y1 > y0)) return;
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
  let structures;
  let template;
  try {
    // colours and borders are both painted here, from the same numbers
    [structures, template] = await Promise.all([
      look.fill === "labels" || look.borders ? getNumbers(path, { ...values, kind: "structures" }) : null,
      look.fill === "template" ? getPicture(path, { ...values, kind: "template" }) : null,
    ]);
  } catch (error) {
    // such as markers that fold the section while one of them is dragged
    if (error instanceof Refused && error.status < 429) tellFault(error);
    else setTimeout(redraw, 2000); // it was busy
    throw error;
  }
  if (section.image_id !== current().image_id) return;
  const size = [values.width, values.height];
  if (template) onCanvas(part("fill"), size, (to) => to.drawImage(template, 0, 0));
  else onCanvas(part("fill"), size, look.fill === "labels" && ((to) => to.putImageData(coloured(structures, size), 0, 0)));
  onCanvas(part("borders"), size, look.borders && ((to) => to.putImageData(bordered(structures, size), 0, 0)));
  drawn = { of, forward, quick: dragged, x0, y0, x1: x0 + values.width * scale, y1: y0 + values.height * scale, scale };
  part("atlas").classList.remove("empty");
  place();
  seen();
  if (dragged && !moving()) redraw();
}

function markersAsked() {
  if (state.proposal) return null;
  return JSON.stringify(shownMarkers().map((marker) => [...marker.flat, ...marker.image]));
}

/** Empty a canvas, and paint it anew. */
function onCanvas(canvas, [width, height], paint) {
  const to = canvas.getContext("2d");
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  else to.clearRect(0, 0, width, height);
  if (paint) paint(to);
}

const word = (bytes) => new Uint32Array(new Uint8Array(bytes).buffer)[0]; // in this machine's order

let palette = null; // the colour of each structure's number, a word each

function coloured(structures, [width, height]) {
  palette ??= Uint32Array.from(state.dataset.atlas.colours, (colour) => (colour === null ? 0
    : word([...[1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)), 255])));
  const made = new ImageData(width, height);
  const pixels = new Uint32Array(made.data.buffer);
  for (let k = 0; k < pixels.length; k += 1) pixels[k] = palette[structures[k]];
  return made;
}

/** Lines where structures meet, in the chosen colour with a rim, so that they are seen on dark and on light. */
function bordered(structures, [width, height]) {
  const [line, rim] = LINES[lines.colour].map(word);
  const made = new ImageData(width, height);
  const pixels = new Uint32Array(made.data.buffer);
  for (let y = 0, k = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, k += 1) {
      const here = structures[k];
      if ((x === 0 || structures[k - 1] === here) && (y === 0 || structures[k - width] === here)) continue;
      pixels[k] = line;
      if (x > 0 && pixels[k - 1] === 0) pixels[k - 1] = rim;
      if (y > 0 && pixels[k - width] === 0) pixels[k - width] = rim;
      // a line there is painted over the rim when it is come to
      if (x + 1 < width && pixels[k + 1] === 0) pixels[k + 1] = rim;
      if (y + 1 < height && pixels[k + width] === 0) pixels[k + width] = rim;
    }
  }
  return made;
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
