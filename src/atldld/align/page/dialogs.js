// What opens above the page: the comparison, the words for a paper, the keys.

import { Lost, Refused, get, getText } from "./server.js";
import { element, part, say, tellFault } from "./page.js";
import { showSection, state } from "./state.js";
import { KEYS } from "./keys.js";
import { STATUS, micrometres } from "./words.js";

export function startDialogs() {
  part("compare-open").addEventListener("click", compare);
  part("methods-open").addEventListener("click", methods);
  part("help-open").addEventListener("click", help);
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close(); // beside it
    });
  }
  part("copy").addEventListener("click", copy);
  part("compare-rows").addEventListener("click", (event) => {
    const go = event.target.closest("[data-go]");
    if (!go) return;
    part("compare").close();
    showSection(Number(go.dataset.go));
  });
  part("compare-head").addEventListener("click", (event) => {
    const by = event.target.closest("[data-by]")?.dataset.by;
    if (by) sort(by);
  });
  part("help-keys").replaceChildren(...KEYS.map(({ title, keys }) => element("section", {},
    element("h3", {}, title),
    element("dl", {}, ...keys.map(([pressed, does]) => element("div", {},
      element("dt", {}, ...pressed.split(" ").flatMap((one, k) => [k ? " " : "", ["or", "to"].includes(one) ? one : element("kbd", {}, one)])),
      element("dd", {}, does)))))));
}

async function open(id, fill) {
  try {
    await fill();
  } catch (error) {
    if (!(error instanceof Lost || error instanceof Refused)) throw error;
    tellFault(error);
    return;
  }
  part(id).showModal();
}

export function help() {
  part("help").showModal();
}

// ---- the table

let rows = [];
let sorted = { by: "place", down: false };

const VALUES = {
  place: (row) => row.place,
  status: (row) => row.status,
  "allen-median": (row) => row.from_allen_um?.median ?? -1,
  "allen-greatest": (row) => row.from_allen_um?.greatest ?? -1,
  "start-median": (row) => row.from_start_um?.median ?? -1,
  "start-greatest": (row) => row.from_start_um?.greatest ?? -1,
};

export function compare() {
  return open("compare", async () => {
    const answer = await get("/api/compare");
    const places = new Map(state.sections.map((section, k) => [section.image_id, k]));
    rows = answer.rows.map((row) => ({ ...row, place: places.get(row.image_id) }));
    sorted = { by: "place", down: false };
    fill();
  });
}

function sort(by) {
  sorted = { by, down: sorted.by === by ? !sorted.down : by !== "place" && by !== "status" };
  fill();
}

function fill() {
  const value = VALUES[sorted.by];
  const way = sorted.down ? -1 : 1;
  const ordered = [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    return way * (x < y ? -1 : x > y ? 1 : a.place - b.place);
  });
  for (const head of document.querySelectorAll("#compare-head [data-by]")) {
    const own = head.dataset.by === sorted.by;
    head.closest("th").setAttribute("aria-sort", own ? (sorted.down ? "descending" : "ascending") : "none");
  }
  part("compare-rows").replaceChildren(...ordered.map((row) => element("tr", {},
    element("th", { scope: "row" }, element("button", { type: "button", class: "link", "data-go": row.image_id }, String(row.number))),
    element("td", { class: "word" }, `${STATUS[row.status].mark} ${row.status}`),
    ...[row.from_allen_um, row.from_start_um].flatMap((from) => [
      element("td", {}, micrometres(from?.median)), element("td", {}, micrometres(from?.greatest)),
    ]))));
}

// ---- the words for a paper

export function methods() {
  return open("methods", async () => {
    part("methods-text").textContent = (await getText("/api/methods")).trim();
    say(part("copied"), "");
  });
}

async function copy() {
  const text = part("methods-text");
  try {
    await navigator.clipboard.writeText(text.textContent);
    say(part("copied"), "Copied.");
  } catch {
    // a browser that does not let pages write there still lets people do it
    getSelection().selectAllChildren(text);
    say(part("copied"), "Selected. Press Ctrl+C to copy it.");
  }
}
