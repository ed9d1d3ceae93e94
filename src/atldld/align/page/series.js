// The series: all sections in order of depth, what they are marked as, and how many are done.

import { loadPicture } from "./loading.js";
import { element, part, say } from "./page.js";
import { current, on, show, state } from "./state.js";
import { STATUS, micrometres } from "./words.js";

const rows = new Map();

export function startSeries() {
  const list = part("sections");
  list.addEventListener("keydown", (event) => {
    const way = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -8, PageDown: 8, Home: -1e6, End: 1e6 };
    if (!(event.key in way) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    show(state.at + way[event.key]);
  });
  list.addEventListener("click", (event) => {
    const row = event.target.closest("[role=option]");
    if (row) show(Number(row.dataset.place));
  });
  on("sections", draw);
  on("section", point);
}

// ---- thumbnails: those that are seen

let begun = false;
const seen = []; // before that

const watching = new IntersectionObserver((found) => {
  for (const { target, isIntersecting } of found) {
    if (!isIntersecting) continue;
    watching.unobserve(target);
    if (begun) loadPicture(target, target.dataset.src);
    else seen.push(target);
  }
}, { rootMargin: "400px" });

/** Begin to load thumbnails: once the first section is there. */
export function loadThumbnails() {
  begun = true;
  for (const image of seen.splice(0)) loadPicture(image, image.dataset.src);
}

function draw() {
  const list = part("sections");
  if (list.children.length !== state.sections.length) {
    rows.clear();
    list.replaceChildren(...state.sections.map((section, k) => make(section, k)));
    list.querySelectorAll("img").forEach((image) => watching.observe(image));
  }
  state.sections.forEach(fill);
  const confirmed = state.sections.filter((section) => section.status === "confirmed").length;
  const out = state.sections.filter((section) => section.status === "left out").length;
  say(part("done"), `${confirmed} of ${state.sections.length} confirmed${out ? `, ${out} left out` : ""}`);
  part("done-bar").value = (confirmed + out) / state.sections.length;
  point();
}

function make(section, place) {
  const row = element("li", { role: "option", id: `s-${section.image_id}`, "data-place": place, "aria-selected": "false" },
    element("img", {
      alt: "", width: 128, height: 88, "data-src": `/api/sections/${section.image_id}/thumbnail.jpg`,
    }),
    element("span", { class: "cap" },
      element("span", { class: "mark", "aria-hidden": "true" }),
      element("b", {}, String(section.number)),
      element("span", { class: "doubt", hidden: true, title: "The program doubts this section" }, "▲"),
      element("span", { class: "error" }),
      element("span", { class: "hide status" })));
  rows.set(section.image_id, row);
  return row;
}

function fill(section) {
  const row = rows.get(section.image_id);
  const { mark, name } = STATUS[section.status];
  const suspicious = section.quality?.suspicious ?? false;
  row.dataset.status = section.status;
  say(row.querySelector(".mark"), mark);
  row.querySelector(".doubt").hidden = !suspicious;
  const error = section.expected_error_um;
  say(row.querySelector(".error"), error === null ? "" : `±${micrometres(error)}`);
  say(row.querySelector(".status"), `, ${name}${suspicious ? ", doubtful" : ""}`);
  row.title = `Section ${section.number}: ${name}, ${STATUS[section.status].about}`;
}

function point() {
  const section = current();
  const list = part("sections");
  for (const [id, row] of rows) row.setAttribute("aria-selected", String(id === section.image_id));
  const row = rows.get(section.image_id);
  list.setAttribute("aria-activedescendant", row.id);
  bring(list, row);
  const { name } = STATUS[section.status];
  say(part("now"), `Section ${section.number}`);
  say(part("now-more"), `${state.at + 1} of ${state.sections.length}`);
  say(part("now-status"), `, ${name}`);
  part("previous").disabled = state.at === 0;
  part("next").disabled = state.at === state.sections.length - 1;
}

/** Scroll the list, and only the list, until a row is seen. */
function bring(list, row) {
  const [outer, inner] = [list.getBoundingClientRect(), row.getBoundingClientRect()];
  if (inner.top < outer.top) list.scrollTop -= outer.top - inner.top + 24;
  else if (inner.bottom > outer.bottom) list.scrollTop += inner.bottom - outer.bottom + 24;
  if (inner.left < outer.left) list.scrollLeft -= outer.left - inner.left + 24;
  else if (inner.right > outer.right) list.scrollLeft += inner.right - outer.right + 24;
}
