// Three cuts through the brain: where the plane crosses them, and where its neighbours do. The line
// can be dragged: its middle moves the plane, its ends tilt it.

import { loadPicture } from "./loading.js";
import { Newest, get, numbers } from "./server.js";
import { pushed, turned } from "./matrix.js";
import { drawing, element, part } from "./page.js";
import {
  commit, current, mayEdit, middle, on, propose, shownForward, state,
} from "./state.js";
import { tilts } from "./panel.js";

const SLOW = 0.2; // with Shift
const AXES = ["p", "i", "r"];

const asking = new Newest(fetchCuts, 120);
let held = null;

export function startCuts() {
  on("section draft sections proposal tab", () => asking.ask());
}

async function fetchCuts() {
  const section = current();
  const answer = await get("/api/cuts", {
    section: section.image_id,
    forward: numbers(shownForward()),
  });
  // the two in which the plane is a line and that are low stand side by side
  const order = ["sagittal", "coronal", "horizontal"];
  const cuts = answer.cuts.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  if (section.image_id === current().image_id) cuts.forEach(draw);
}

function draw(cut) {
  const place = part("cuts");
  let figure = place.querySelector(`[data-cut="${cut.name}"]`);
  if (!figure) {
    figure = element("figure", { "data-cut": cut.name },
      element("div", { class: "cut" },
        element("img", { alt: `A ${cut.name} cut through the atlas's brain` }), drawing("svg", { "aria-hidden": "true" })),
      element("figcaption", {}));
    const svg = figure.querySelector("svg");
    svg.addEventListener("pointerdown", take);
    svg.addEventListener("pointermove", follow);
    svg.addEventListener("pointerup", leave);
    svg.addEventListener("pointercancel", leave);
    place.lastElementChild.before(figure);
  }
  figure.cut = cut;
  figure.querySelector(".cut").style.aspectRatio = `${cut.width} / ${cut.height}`; // before the picture is there
  const picture = figure.querySelector("img");
  // while the plane is moved only its line follows, as pictures would keep the atlas waiting
  if (picture.dataset.picture !== cut.picture && !(state.draft && picture.dataset.picture)) {
    picture.dataset.picture = cut.picture;
    loadPicture(picture, cut.picture, { first: true });
  }
  figure.querySelector("figcaption").textContent = cut.name;
  const svg = figure.querySelector("svg");
  const told = JSON.stringify([cut.lines, state.readonly, state.proposal !== null]);
  if (figure.told === told) return; // what the pointer is on stays
  figure.told = told;
  svg.setAttribute("viewBox", `0 0 ${cut.width} ${cut.height}`);
  // "before" and "after" are the sections beside it
  svg.replaceChildren(
    ...cut.lines.filter(({ kind }) => kind !== "this").map((line) => path(line, line.kind === "other" ? "other" : "other beside")),
    ...cut.lines.filter(({ kind }) => kind === "this").flatMap((line) => [path(line, "rim"), path(line, "this")]),
    ...grips(cut),
  );
}

function path({ points }, name) {
  const closed = points.length > 2 ? "Z" : "";
  return drawing("path", { class: name, d: `M${points.map((point) => point.join(" ")).join("L")}${closed}` });
}

/** The ends and the middle of the line, to be taken by hand. */
function grips(cut) {
  const line = cut.lines.find(({ kind, points }) => kind === "this" && points.length === 2);
  if (!line || state.proposal || state.readonly) return [];
  const [a, b] = line.points;
  const centre = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  const size = Math.max(cut.width, cut.height) / 100;
  const grip = (at, hand) => drawing("g", { class: "grip", "data-hand": hand, transform: `translate(${at[0]} ${at[1]})` },
    drawing("title", {}, hand === "depth" ? "Drag to change the depth" : "Drag to tilt"),
    drawing("circle", { class: "reach", r: 7 * size }),
    hand === "depth" ? drawing("rect", { x: -3 * size, y: -3 * size, width: 6 * size, height: 6 * size })
      : drawing("circle", { r: 3 * size }));
  return [grip(towards(cut, centre, a), "tilt"), grip(towards(cut, centre, b), "tilt"), grip(centre, "depth")];
}

/** Most of the way to the end of the line, as far as that is in the picture. */
function towards({ width, height }, centre, end) {
  let share = 0.85;
  [width, height].forEach((size, k) => {
    const edge = end[k] > centre[k] ? 0.93 * size : 0.07 * size;
    const way = end[k] - centre[k];
    if (Math.abs(way) > 1e-6) share = Math.min(share, Math.max(0.15, (edge - centre[k]) / way));
  });
  return within(centre, end, share);
}

const within = ([a, b], [c, d], share) => [a + (c - a) * share, b + (d - b) * share];

function at(event) {
  const svg = event.currentTarget;
  const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [x, y];
}

function take(event) {
  const grip = event.target.closest(".grip");
  if (!grip || event.button !== 0 || !mayEdit()) return;
  event.preventDefault();
  event.currentTarget.setPointerCapture(event.pointerId);
  const { cut } = event.currentTarget.closest("figure");
  const { points: [a, b] } = cut.lines.find(({ kind }) => kind === "this");
  held = {
    cut, hand: grip.dataset.hand, from: at(event), start: shownForward(), centre: within(a, b, 0.5),
  };
}

function follow(event) {
  if (!held) return;
  const { cut, hand, from, start, centre } = held;
  const to = event.shiftKey ? within(from, at(event), SLOW) : at(event);
  const [across, down] = cut.axes.map((axis) => AXES.indexOf(axis));
  if (hand === "depth") {
    const { axis } = tilts();
    const k = axis === across ? 0 : 1;
    propose(pushed(start, axis, (to[k] - from[k]) * cut.um_per_pixel));
    return;
  }
  const [a, b] = [from, to].map((point) => Math.atan2(point[1] - centre[1], point[0] - centre[0]));
  const degrees = (b - a) * 180 / Math.PI;
  const third = 3 - across - down;
  propose(turned(start, third, (third + 1) % 3 === across ? degrees : -degrees, middle()));
}

function leave() {
  if (!held) return;
  held = null;
  commit();
}
