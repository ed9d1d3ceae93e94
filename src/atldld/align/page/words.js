// Numbers and names as people read them.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export function micrometres(value) {
  return value === null || value === undefined || !Number.isFinite(value) ? "–" : `${whole.format(value)} µm`;
}

export function rounded(value, digits) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : text; // never −0.00
}

export const STATUS = {
  automatic: { mark: "○", name: "automatic", about: "as the program placed it" },
  edited: { mark: "◐", name: "edited", about: "changed by hand" },
  confirmed: { mark: "✓", name: "confirmed", about: "somebody looked and agreed" },
  "left out": { mark: "✕", name: "left out", about: "not to be used" },
};

export function plural(count, one, many = `${one}s`) {
  return `${whole.format(count)} ${count === 1 ? one : many}`;
}

export function time(text) {
  const at = text ? new Date(text) : new Date();
  return at.toLocaleTimeString("en-GB");
}
