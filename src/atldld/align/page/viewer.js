// The picture of a section with deep zoom, and where its pixels are on the screen.

import { address } from "./server.js";
import { inverse, moved } from "./matrix.js";
import { part, tell } from "./page.js";
import { current, on } from "./state.js";

const TILE = 512;
const LEFT = "another section is shown";

// OpenSeadragon would add a style sheet of its own, which the page's policy forbids; it does not if
// something of that name is there.
const placeholder = document.createElementNS("urn:atldld:none", "style");
placeholder.setAttribute("data-openseadragon-mobile-css", "true");
document.head.append(placeholder);

let viewer = null;
let view = "image";
const listeners = new Set();

export function startViewer() {
  // it says of each tile that comes late or not at all; people are told below
  Object.assign(window.OpenSeadragon.console, { warn: () => {}, error: () => {} });
  viewer = window.OpenSeadragon({
    element: part("picture"),
    drawer: "canvas",
    showNavigationControl: false,
    tabIndex: -1,
    visibilityRatio: 0.25,
    minZoomImageRatio: 0.5,
    maxZoomPixelRatio: 4,
    animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0.01 : 0.35,
    springStiffness: 9,
    imageLoaderLimit: 3, // of the browser's six lines; see loading.js
    timeout: 120_000, // a picture may have to be fetched from afar
    tileRetryMax: 20,
    tileRetryDelay: 1500,
    placeholderFillStyle: null,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true, scrollToZoom: true },
    gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
    gestureSettingsPen: { clickToZoom: false },
  });
  viewer.addHandler("canvas-key", (event) => { event.preventDefaultAction = true; });
  viewer.addHandler("tile-load-failed", ({ message }) => {
    if (message !== LEFT) tell("A part of the picture has not come.", "It is asked for again.");
  });
  viewer.canvas.append(part("atlas"), part("hands"));
  for (const event of ["update-viewport", "open", "resize", "animation-finish"]) {
    viewer.addHandler(event, () => listeners.forEach((listener) => listener(event)));
  }
  on("section", open);
}

/** Call `listener` whenever pixels have come to lie elsewhere on the screen. */
export function whenViewMoves(listener) {
  listeners.add(listener);
}

export function choosePicture(chosen) {
  view = chosen;
  open();
}

const loading = new Set(); // tiles that are under way

function load(job) {
  const image = new Image();
  const ended = () => {
    image.onload = null;
    image.onerror = null;
    loading.delete(job);
  };
  image.onload = () => {
    ended();
    job.finish(image, null, "image");
  };
  image.onerror = () => {
    ended();
    job.fail("it has not come", null);
  };
  job.userData.stop = () => {
    ended();
    image.src = "";
  };
  loading.add(job);
  image.fetchPriority = "high";
  image.src = job.src;
}

/** Leave what is under way for a section that is no longer shown: it would keep the lines busy. */
function leave() {
  for (const job of [...loading]) {
    job.tries = Infinity; // it is not asked for again
    job.userData.stop();
    job.fail(LEFT, null);
  }
}

export function open() {
  const section = current();
  leave();
  const size = Math.max(section.width, section.height);
  const maxLevel = Math.ceil(Math.log2(size));
  const tiers = new Map(section.tiers.map((tier) => [maxLevel - tier.tier, tier]));
  viewer.open({
    width: section.width,
    height: section.height,
    tileSize: TILE,
    minLevel: Math.min(...tiers.keys()),
    maxLevel: Math.max(...tiers.keys()),
    getTileUrl: (level, column, row) => address(
      `/api/sections/${section.image_id}/tiles/${maxLevel - level}/${column}_${row}.jpg`, { view },
    ),
    // a tier leaves off what is not a whole pixel of it
    tileExists(level, column, row) {
      const tier = tiers.get(level);
      return tier !== undefined && column * TILE < tier.width && row * TILE < tier.height;
    },
    downloadTileStart: load,
    downloadTileAbort: (job) => job.userData.stop(),
    getLevelScale: (level) => 2 ** (level - maxLevel),
  });
  say(section);
}

function say(section) {
  part("stage").setAttribute("aria-label", `Section ${section.number} with the atlas over it`);
}

export function isOpen() {
  return viewer !== null && viewer.world.getItemCount() > 0;
}

/** Whether all of the picture that is seen has come. */
export function isWhole() {
  return isOpen() && viewer.world.getItemAt(0).getFullyLoaded();
}

/** Whether the picture neither zooms nor pans. */
export function isStill() {
  return isOpen() && !viewer.isAnimating();
}

/** The size of the stage on the screen. */
export function stageSize() {
  const size = viewer.viewport.getContainerSize();
  return [size.x, size.y];
}

/** From pixels of the picture, the first of which has its centre at (0, 0), to the screen's. */
export function toStage() {
  const { Point } = window.OpenSeadragon;
  const [zero, one] = [[0, 0], [1000, 0]].map(
    ([x, y]) => viewer.viewport.imageToViewerElementCoordinates(new Point(x, y)),
  );
  const scale = (one.x - zero.x) / 1000;
  return [[scale, 0, zero.x + scale / 2], [0, scale, zero.y + scale / 2], [0, 0, 1]];
}

/** The pixel of the picture that a pointer is at. */
export function pixelAt(event) {
  const box = part("picture").getBoundingClientRect();
  return moved(inverse(toStage()), [event.clientX - box.left, event.clientY - box.top]);
}

export function pixelInTheMiddle() {
  const [width, height] = stageSize();
  return moved(inverse(toStage()), [width / 2, height / 2]);
}

export function zoomBy(factor) {
  viewer.viewport.zoomBy(factor);
  viewer.viewport.applyConstraints();
}

export function wholePicture() {
  viewer.viewport.goHome();
}
