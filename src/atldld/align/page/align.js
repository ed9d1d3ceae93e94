// The page of `atldld align`: everything is put together here.

import { Lost, Refused, hasToken, whenConnectionChanges } from "./server.js";
import { element, part, say, takesKeys, tell, tellFault } from "./page.js";
import {
  commit, current, forgetDraft, happened, heartbeat, load, on, redo, show, state, undo,
} from "./state.js";
import {
  addMarkerInTheMiddle, cancelDrag, chooseTool, deleteMarker, startHands,
} from "./hands.js";
import {
  confirm, deepen, isTyping, leaveOut, pointAt, pointAway, rotateBy, scaleBy, shearBy, shiftBy, startPanel, step,
} from "./panel.js";
import { fitThis, startFit, toggleProposed } from "./fit.js";
import { help, startDialogs } from "./dialogs.js";
import { isDrawn, lines, look, movedNow, movedThen, redraw, seen, startOverlay } from "./overlay.js";
import { choosePicture, isWhole, open, pixelAt, startViewer, toStage, wholePicture, zoomBy } from "./viewer.js";
import { singleKeys, useSingleKeys } from "./keys.js";
import { startCuts } from "./cuts.js";
import { loadThumbnails, startSeries } from "./series.js";
import { plural, time } from "./words.js";

const BEAT = 4000; // ms between two signs of life

// ---- what is shown of the atlas

function startLook() {
  for (const radio of document.querySelectorAll("[name=fill]")) {
    radio.addEventListener("change", () => chooseFill(radio.value));
  }
  for (const radio of document.querySelectorAll("[name=mode]")) {
    radio.addEventListener("change", () => chooseMode(radio.value));
  }
  for (const radio of document.querySelectorAll("[name=tool]")) {
    radio.addEventListener("change", () => chooseTool(radio.value));
  }
  part("opacity").addEventListener("input", () => {
    look.opacity = part("opacity").value / 100;
    seen();
  });
  part("show-borders").addEventListener("change", () => {
    look.borders = part("show-borders").checked;
    seen();
    redraw();
  });
  part("colour").addEventListener("change", () => {
    lines.colour = part("colour").value;
    redraw();
  });
  part("detail").addEventListener("input", () => chooseDetail(Number(part("detail").value)));
  for (const radio of document.querySelectorAll("[name=picture-kind]")) {
    radio.addEventListener("change", () => choosePicture(radio.value));
  }
  on("section", () => { part("picture-kinds").hidden = !current().has_expression; });
  part("zoom-in").addEventListener("click", () => zoomBy(1.5));
  part("zoom-out").addEventListener("click", () => zoomBy(1 / 1.5));
  part("zoom-whole").addEventListener("click", wholePicture);
  startEdge();
}

function chooseFill(fill) {
  look.fill = fill;
  document.querySelector(`[name=fill][value=${fill}]`).checked = true;
  part("opacity").disabled = fill === "none";
  seen();
  redraw();
}

function chooseMode(mode) {
  look.mode = mode;
  document.querySelector(`[name=mode][value=${mode}]`).checked = true;
  part("stage").dataset.mode = mode;
  seen();
}

/** Levels of the tree below the brain as a whole. */
const deepest = () => Math.max(1, state.dataset.atlas.depths - 1);

function chooseDetail(depth) {
  const most = deepest();
  const level = Math.min(Math.max(depth, 1), most);
  look.depth = level === most ? null : level;
  part("detail").value = level;
  part("detail").setAttribute("aria-valuetext", level === most ? "everything" : `level ${level} of ${most}`);
  redraw();
}

function startEdge() {
  const edge = part("edge");
  const to = (share) => {
    look.edge = Math.min(Math.max(share, 0), 1);
    seen();
  };
  edge.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    event.stopPropagation();
    edge.focus();
    edge.setPointerCapture(event.pointerId);
  });
  edge.addEventListener("pointermove", (event) => {
    if (!edge.hasPointerCapture(event.pointerId)) return;
    const box = part("stage").getBoundingClientRect();
    to((event.clientX - box.left) / box.width);
  });
  edge.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    to(look.edge + by * (event.shiftKey ? 5 : 1));
  });
}

// ---- the keys

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function pickTool(tool) {
  document.querySelector(`[name=tool][value=${tool}]`).checked = true;
  chooseTool(tool);
}

/** What a letter does; `far` is whether Shift is held. */
const LETTERS = {
  n: () => show(state.at + 1),
  p: () => show(state.at - 1),
  c: confirm,
  x: leaveOut,
  e: () => part("note").focus(),
  f: fitThis,
  a: toggleProposed,
  m: () => { pickTool("markers"); addMarkerInTheMiddle(); },
  1: () => pickTool("look"),
  2: () => pickTool("move"),
  3: () => pickTool("markers"),
  "+": () => zoomBy(1.3),
  "=": () => zoomBy(1.3),
  "-": () => zoomBy(1 / 1.3),
  0: wholePicture,
  s: () => chooseMode(look.mode === "swipe" ? "over" : "swipe"),
  t: () => chooseFill({ labels: "template", template: "none", none: "labels" }[look.fill]),
  d: (far) => chooseDetail((look.depth ?? deepest()) + (far ? -1 : 1)),
  "?": help,
  ",": () => rotateBy(-0.25),
  ".": () => rotateBy(0.25),
  "<": () => rotateBy(-2),
  ";": () => rotateBy(-2),
  ">": () => rotateBy(2),
  ":": () => rotateBy(2),
  i: (far) => step("tilt_2_deg", far ? -1 : -0.25),
  k: (far) => step("tilt_2_deg", far ? 1 : 0.25),
  j: (far) => step("tilt_1_deg", far ? -1 : -0.25),
  l: (far) => step("tilt_1_deg", far ? 1 : 0.25),
  "[": () => scaleBy(1 / 1.005),
  "]": () => scaleBy(1.005),
  "{": () => scaleBy(1 / 1.02),
  "}": () => scaleBy(1.02),
  u: (far) => shearBy(far ? -0.02 : -0.005),
  o: (far) => shearBy(far ? 0.02 : 0.005),
};

function pressed(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ((event.ctrlKey || event.metaKey) && !event.altKey) {
    if (key !== "z" && key !== "y") return;
    if (event.target.matches?.("textarea, input:not([type=number]):not([type=radio]):not([type=checkbox]):not([type=range])")) return;
    event.preventDefault();
    (key === "y" || event.shiftKey ? redo : undo)();
    return;
  }
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (key === "Escape" && !document.querySelector("dialog[open]")) {
    if (!cancelDrag()) forgetDraft();
    if (takesKeys(event.target)) part("stage").focus();
    return;
  }
  if (!takesKeys(event.target) && (key in ARROWS || key === "PageUp" || key === "PageDown")) {
    event.preventDefault();
    const far = event.shiftKey ? 100 : 10;
    if (key in ARROWS) shiftBy(...ARROWS[key].map((way) => way * far));
    else deepen(key === "PageUp" ? -far : far);
    return;
  }
  if ((key === "Delete" || key === "Backspace") && !takesKeys(event.target)) {
    if (deleteMarker()) event.preventDefault();
    return;
  }
  if (!singleKeys() || typesText(event.target) || document.querySelector("dialog[open]")) return;
  if (key === "b") {
    look.hidden = true;
    seen();
    return;
  }
  const does = LETTERS[key];
  if (does && !(/^[\d+=-]$/.test(key) && event.target.matches?.("input[type=number]"))) {
    event.preventDefault();
    does(event.shiftKey);
  }
}

function typesText(target) {
  return target.closest?.("textarea, select, input[type=number], input[type=text]") !== null;
}

function released(event) {
  if (event.key.toLowerCase() !== "b" || !look.hidden) return;
  look.hidden = false;
  seen();
}

// ---- what is said at the top

function drawSaved() {
  const place = part("saved");
  const file = state.dataset?.output ?? "";
  place.classList.toggle("waiting", state.waiting > 0);
  if (lost) say(place, state.waiting ? `${plural(state.waiting, "change")} not saved yet` : "No connection");
  else if (state.waiting) say(place, "Saving …");
  else if (state.savedAt) say(place, `Saved at ${time(state.savedAt)} in ${file}`);
  else say(place, `Saves into ${file}`);
  part("undo").title = `Undo${state.dataset?.undo ? `: ${EDITS[state.dataset.undo] ?? state.dataset.undo}` : ""} (Ctrl+Z)`;
  part("redo").title = `Redo${state.dataset?.redo ? `: ${EDITS[state.dataset.redo] ?? state.dataset.redo}` : ""} (Ctrl+Shift+Z)`;
  part("undo").disabled = state.readonly || !(state.dataset?.can_undo || state.draft);
  part("redo").disabled = state.readonly || !state.dataset?.can_redo;
}

const EDITS = {
  place: "the move", markers: "the markers", status: "the state", note: "the note", reset: "back to the start", fit: "the fit",
};

let lost = false;

function drawBanner() {
  part("lost").hidden = !lost;
  part("readonly").hidden = lost || !state.readonly;
  document.body.classList.toggle("still", state.readonly);
  drawSaved();
}

function startTop() {
  part("undo").addEventListener("click", undo);
  part("redo").addEventListener("click", redo);
  part("previous").addEventListener("click", () => show(state.at - 1));
  part("next").addEventListener("click", () => show(state.at + 1));
  part("take-over").addEventListener("click", () => heartbeat(true).then(
    () => { if (!state.readonly) tell("You edit in this tab now. The other one only looks."); }, tellFault,
  ));
  on("saving sections draft", drawSaved);
  on("tab", drawBanner);
  whenConnectionChanges((connected) => {
    lost = !connected;
    drawBanner();
    if (connected) {
      tell("The program answers again.");
      redraw();
      open();
    }
  });
  addEventListener("beforeunload", (event) => {
    if (state.draft) commit();
    if (state.waiting) event.preventDefault();
  });
  const single = part("single-keys");
  single.checked = singleKeys();
  single.addEventListener("change", () => useSingleKeys(single.checked));
}

async function beat() {
  for (;;) {
    await new Promise((resolve) => { setTimeout(resolve, lost ? 1000 : BEAT); });
    try {
      await heartbeat();
    } catch (error) {
      if (error instanceof Refused) fatal(error);
      if (!(error instanceof Lost)) throw error;
    }
  }
}

function fatal(error) {
  part("fatal").hidden = false;
  part("fatal").replaceChildren(
    element("h1", {}, error.message), element("p", {}, error.hint ?? ""),
  );
}

function title() {
  const { id, gene, plane } = state.dataset;
  part("gene").textContent = gene ?? "";
  part("dataset").textContent = `Data set ${id}, ${plane}`;
  part("synthetic").hidden = !state.dataset.synthetic;
  document.title = `${gene ? `${gene} ` : ""}${id}: align`;
  const detail = part("detail");
  detail.max = deepest();
  detail.value = detail.max;
  detail.setAttribute("aria-valuetext", "everything");
}

/** Wait until the first section is there, but not for ever. */
async function whenThere() {
  for (let waited = 0; waited < 6000 && !isWhole(); waited += 100) {
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
}

async function start() {
  if (!hasToken) {
    fatal({
      message: "This address lacks its key.",
      hint: "Use the whole address that atldld align printed in the terminal, or start it again.",
    });
    return;
  }
  startTop();
  startSeries();
  startViewer();
  startOverlay();
  startHands();
  startPanel();
  startCuts();
  startFit();
  startLook();
  startDialogs();
  addEventListener("keydown", pressed);
  addEventListener("keyup", released);
  part("stage").addEventListener("pointermove", (event) => {
    if (event.buttons === 0 && state.dataset) pointAt(pixelAt(event));
  });
  part("stage").addEventListener("pointerleave", pointAway);
  try {
    await load();
  } catch (error) {
    if (!(error instanceof Lost || error instanceof Refused)) throw error;
    fatal(error instanceof Refused ? error : {
      message: "The program does not answer.",
      hint: "Is atldld align still running in the terminal? Start it again, and open the address that it prints.",
    });
    return;
  }
  title();
  happened("section");
  chooseFill(look.fill);
  chooseMode("over");
  chooseTool("look");
  drawBanner();
  document.body.classList.add("ready");
  whenThere().then(loadThumbnails);
  await heartbeat().catch(() => {});
  beat();
}

/** Whether all that was done is saved. */
function isSettled() {
  return !state.draft && !state.draftMarkers && state.waiting === 0 && !isTyping();
}

// for those who measure, and for the console
window.atldld = { state, current, isDrawn, isSettled, isWhole, movedNow, movedThen, toStage };
start();
