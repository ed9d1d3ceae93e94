// "Fit from here": the program's own steps, from where the sections lie now, and what they would
// change, before and after. Nothing is changed until it is accepted.

import { Lost, Refused, get, post } from "./server.js";
import { element, part, say, tell, tellFault } from "./page.js";
import { change, commit, current, happened, mayEdit, on, showSection, state } from "./state.js";
import { micrometres, plural } from "./words.js";

let job = null;

export function startFit() {
  part("fit-form").addEventListener("submit", (event) => {
    event.preventDefault();
    fit();
  });
  part("fit-all").addEventListener("click", () => {
    part("fit-from").selectedIndex = 0;
    part("fit-to").selectedIndex = state.sections.length - 1;
  });
  part("fit-cancel").addEventListener("click", async () => {
    if (job) await post(`/api/jobs/${job}/cancel`).catch(tellFault);
  });
  part("accept").addEventListener("click", () => answer("accept"));
  part("discard").addEventListener("click", () => answer("discard"));
  for (const radio of document.querySelectorAll("[name=proposed]")) {
    radio.addEventListener("change", () => showProposed(radio.value));
  }
  on("sections", fillChoices);
  on("section", () => {
    if (state.proposal) drawProposal();
    else chooseCurrent();
  });
  on("tab proposal", () => {
    part("fit-choices").disabled = state.readonly || state.proposal !== null || job !== null;
  });
}

function fillChoices() {
  for (const id of ["fit-from", "fit-to"]) {
    const choice = part(id);
    if (choice.options.length === state.sections.length) continue;
    choice.replaceChildren(...state.sections.map(
      (section) => element("option", { value: section.image_id }, `${section.number}`),
    ));
    chooseCurrent();
  }
}

function chooseCurrent() {
  for (const id of ["fit-from", "fit-to"]) part(id).selectedIndex = state.at;
}

export function fitThis() {
  chooseCurrent();
  fit();
}

async function fit() {
  if (!mayEdit() || job) return;
  commit();
  while (state.waiting) await later(50);
  const [a, b] = [part("fit-from").selectedIndex, part("fit-to").selectedIndex];
  const chosen = state.sections.slice(Math.min(a, b), Math.max(a, b) + 1);
  const steps = [...document.querySelectorAll("[name=step]:checked")].map((box) => box.value);
  if (!steps.length) {
    tell("Choose at least one step.");
    return;
  }
  try {
    ({ job } = await post("/api/fit", {
      revision: state.dataset.revision, image_ids: chosen.map((one) => one.image_id), steps,
    }));
  } catch (error) {
    if (!(error instanceof Lost || error instanceof Refused)) throw error;
    tellFault(error);
    return;
  }
  happened("tab");
  part("fit-progress").hidden = false;
  await watch(chosen.length);
  part("fit-progress").hidden = true;
  job = state.proposal ? job : null;
  happened("tab");
}

const later = (wait) => new Promise((resolve) => { setTimeout(resolve, wait); });

async function watch(count) {
  for (;;) {
    await later(400);
    let now;
    try {
      now = await get(`/api/jobs/${job}`);
    } catch (error) {
      if (error instanceof Lost) continue;
      if (!(error instanceof Refused)) throw error;
      tellFault(error);
      return;
    }
    const bar = part("fit-bar");
    if (now.total) {
      bar.max = now.total;
      bar.value = now.done;
    } else {
      bar.removeAttribute("value");
    }
    say(part("fit-said"), now.said || `Fitting ${plural(count, "section")} …`);
    if (now.state === "done") {
      take(now.proposal);
      return;
    }
    if (now.state === "failed" || now.state === "cancelled") {
      tell(now.error ?? "The fit was stopped. Nothing has changed.", now.hint ?? "", now.state === "failed");
      return;
    }
  }
}

function take(proposal) {
  const sections = new Map(proposal.sections.map((one) => [one.image_id, one]));
  state.proposal = { job, sections, show: "after" };
  if (!sections.has(current().image_id)) showSection(proposal.sections[0].image_id);
  document.querySelector("[name=proposed][value=after]").checked = true;
  happened("proposal");
  drawProposal();
  part("accept").focus();
}

export function showProposed(which) {
  if (!state.proposal) return;
  state.proposal.show = which;
  document.querySelector(`[name=proposed][value=${which}]`).checked = true;
  happened("proposal");
}

export function toggleProposed() {
  if (state.proposal) showProposed(state.proposal.show === "after" ? "before" : "after");
}

function drawProposal() {
  const place = part("proposal");
  place.hidden = state.proposal === null;
  if (!state.proposal) return;
  const all = [...state.proposal.sections.values()];
  const kept = all.filter((one) => one.kept).length;
  const own = state.proposal.sections.get(current().image_id);
  say(part("proposal-what"), all.length === 1
    ? `The fit would move section ${number(all[0].image_id)}`
    : `The fit would move ${kept} of ${plural(all.length, "section")}`);
  part("proposal-own").replaceChildren(...(own ? words(own) : ["This section was not fitted."]));
  part("proposed").disabled = !own;
}

const number = (id) => state.sections.find((section) => section.image_id === id).number;

function words(own) {
  if (!own.kept) return [`Section ${number(own.image_id)} stays where it is. ${own.words}`];
  const out = [`Section ${number(own.image_id)}: ${micrometres(own.moved_um)}`];
  const [before, after] = [own.before.expected_error_um, own.after.expected_error_um];
  if (after !== null && after !== undefined) {
    out.push(before === null || before === undefined
      ? `, expected error ${micrometres(after)}`
      : `, expected error ${micrometres(before)} before, ${micrometres(after)} after`);
  }
  out.push(". ", own.words ?? "");
  return out;
}

async function answer(kind) {
  const { job: mine } = state.proposal;
  const was = state.proposal;
  state.proposal = null;
  const done = await change(`/api/jobs/${mine}/${kind}`);
  if (done === null && kind === "accept") {
    state.proposal = was; // it was refused, and stays to be answered
  } else {
    job = null;
    tell(kind === "accept" ? "Accepted and saved. You can undo it." : "Discarded. Nothing has changed.");
  }
  happened("proposal");
  drawProposal();
  part("stage").focus();
}
