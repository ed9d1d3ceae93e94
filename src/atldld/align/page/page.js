// Small things that every part of the page needs.

export const part = (id) => document.getElementById(id);

/** An element with its attributes and contents; text stays text. */
export function element(name, attributes = {}, ...contents) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...contents.filter((one) => one !== null && one !== undefined));
  return made;
}

export function drawing(name, attributes = {}, ...contents) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...contents);
  return made;
}

/** Replace text only where it differs, so that screen readers say it once. */
export function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

let clearing = 0;

/** Tell people something at the foot of the page, for a while. */
export function tell(text, hint = "", serious = false) {
  const place = part("told");
  place.classList.toggle("serious", serious);
  place.replaceChildren(element("strong", {}, text), hint ? ` ${hint}` : "");
  clearTimeout(clearing);
  clearing = setTimeout(() => place.replaceChildren(), serious ? 15_000 : 6_000);
}

export function tellFault(error) {
  tell(error.message, error.hint ?? "", true);
}

/** Whether a key that is pressed there has a meaning of its own. */
export function takesKeys(target) {
  return target.closest?.("input, textarea, select, [role=listbox], dialog[open], [contenteditable]") !== null;
}
