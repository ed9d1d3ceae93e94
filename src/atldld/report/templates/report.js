"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const read = (id) => JSON.parse($(id).textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const figures = read("figures");
  const sections = figures.sections;
  const structures = figures.structures;

  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const say = (value, digits = 3) => {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1);
    return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(digits)));
  };

  /* ---- section by section ---- */
  const stage = $("stage"), cut = $("cut"), versus = $("versus"), other = $("other");
  const showLines = $("show-lines"), showColours = $("show-colours"), showMask = $("show-mask");
  const FIGURES = read("figure-names"), GUARDED = read("guarded-names");
  let now = -1;
  let data = null;

  const go = (place) => {
    const wanted = Math.min(Math.max(place, 0), sections.length - 1);
    if (wanted === now) return;
    now = wanted;
    const one = sections[now];
    data = read(`data-${one.image_id}`);
    const odd = Boolean(one.quality && one.quality.suspicious);
    const axis = one.third_coordinate.axis;
    $("which").value = now;
    $("said").textContent =
      `Section ${one.section_number} · ${now + 1} of ${sections.length} · ` +
      `${axis} = ${say(one.coordinate_um, 5)} µm · tilt ${one.tilt_degrees.toFixed(1)}°`;
    const why = $("why");
    why.className = odd ? "why suspicious" : "why";
    why.textContent = odd ? `▲ Suspicious: ${one.reasons.join("; ") || "its figures depart from its neighbours’"}.` : "";
    const what = `Section ${one.section_number} (image ${one.image_id})`;
    $("registered").src = data.registered;
    $("registered").alt = `${what} in reference coordinates`;
    const raw = $("raw");
    raw.hidden = !data.raw;
    if (data.raw) raw.src = data.raw; else raw.removeAttribute("src");
    raw.alt = `${what} as scanned`;
    $("raw-missing").hidden = Boolean(data.raw);
    $("raw-missing").textContent = data.raw ? "" : one.problems.raw || "The picture as scanned is not there.";
    draw();
    compare();
    tellMove(one);
    listFigures(one);
    listSteps(one);
    listStructures(one);
    for (const link of document.querySelectorAll("a.now")) link.classList.remove("now");
    for (const link of document.querySelectorAll(`a[data-go="${now}"]`)) link.classList.add("now");
  };

  const draw = () => {
    const [width, height] = data.raw_size;
    const { columns, rows, outline_units_per_pixel: units } = figures.picture;
    const which = alignment();
    const was = which !== "after" && data.before, is = which !== "before" || !data.before;
    for (const id of ["lines", "lines-over"]) {
      const scale = `scale(${1 / units})`;
      fill($(id), `0 0 ${columns} ${rows}`, [
        is && group(data.shapes, scale, "is", true),
        was && group(was.shapes, scale, "was", true),
      ]);
    }
    fill($("raw-lines"), `0 0 ${width} ${height}`, [
      is && group(data.raw_shapes || data.shapes, `matrix(${data.to_raw.join(" ")})`, "is", false),
      was && group(was.raw_shapes, `matrix(${was.to_raw.join(" ")})`, "was", false),
    ]);
    // atlas colours fill the structures of one alignment, never of two
    for (const svg of document.querySelectorAll("svg.lines")) svg.classList.toggle("only-was", !is);
    $("raw-lines").style.visibility = data.raw ? "" : "hidden";
  };
  const fill = (svg, box, groups) => {
    svg.setAttribute("viewBox", box);
    svg.setAttribute("preserveAspectRatio", "xMidYMid meet");
    svg.replaceChildren(...groups.filter(Boolean));
  };
  const group = (shapes, transform, name, titled) => {
    const made = document.createElementNS(SVG, "g");
    made.setAttribute("transform", transform);
    made.setAttribute("class", name);
    for (const [id, d] of shapes) {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", d);
      path.setAttribute("class", `s${id}`);
      path.style.setProperty("--c", `#${structures[id].color}`);
      if (titled) path.dataset.id = id;
      made.append(path);
    }
    return made;
  };
  const alignment = () => {
    const chosen = document.querySelector("#switch input:checked");
    return chosen ? chosen.value : "after";
  };
  const tellMove = (one) => {
    const told = $("moved-here");
    if (!told) return;
    const { moved_um: moved } = one;
    if (!moved) told.textContent = "This section was not placed before.";
    else if (!data.before) told.textContent = "This section has not moved.";
    else told.textContent = `This section has moved by ${moved.median.toFixed(0)} µm (median), ${moved.most.toFixed(0)} µm at most.`;
  };
  const light = (id) => {
    for (const lit of document.querySelectorAll(".lit")) lit.classList.remove("lit");
    const under = $("under");
    if (id === null) { under.textContent = ""; return; }
    for (const node of document.querySelectorAll(`.s${id}`)) node.classList.add("lit");
    under.textContent = `${structures[id].acronym}: ${structures[id].name}`;
  };

  const compare = () => {
    const kind = versus.value, source = kind && data[kind];
    other.hidden = !source;
    $("edge").hidden = !source;
    stage.classList.toggle("alone", !source);
    stage.classList.toggle("split", Boolean(source));
    $("other-tag").hidden = !source;
    cut.disabled = !source;
    if (source) other.src = source; else other.removeAttribute("src");
    other.alt = { template: "The atlas’s template in the same plane", mask: "The expression mask" }[kind] || "";
    $("other-tag").textContent = { template: "template", mask: "expression mask" }[kind] || "";
    if (kind && !source) {
      const one = sections[now];
      $("under").textContent = one.problems[kind] ? `No ${kind}: ${one.problems[kind]}` : `No ${kind} here.`;
    }
    const mask = $("mask");
    const masked = Boolean(showMask && showMask.checked && data.mask);
    mask.hidden = !masked;
    if (masked) mask.src = data.mask; else mask.removeAttribute("src");
    mask.alt = masked ? "The expression mask, laid over" : "";
    for (const svg of document.querySelectorAll("svg.lines")) {
      svg.classList.toggle("bare", !(showLines && showLines.checked));
      svg.classList.toggle("coloured", Boolean(showColours && showColours.checked));
    }
  };
  const setCut = () => stage.style.setProperty("--cut", `${cut.value}%`);
  const drag = (event) => {
    if (cut.disabled || (event.type === "pointermove" && !event.buttons)) return;
    const box = stage.getBoundingClientRect();
    cut.value = Math.min(Math.max((100 * (event.clientX - box.left)) / box.width, 0), 100);
    setCut();
  };

  const listFigures = (one) => {
    const body = $("section-figures").tBodies[0];
    const quality = one.quality || {};
    const two = Boolean(figures.alignments), before = one.quality_before || {};
    const line = (title, about, was, now) => make("tr", {},
      make("th", { scope: "row" }, title, " ", make("span", { class: "light" }, about)),
      ...(two ? [make("td", {}, was)] : []), make("td", {}, now));
    const rows = FIGURES.filter(([name]) => name in quality)
      .map(([name, title, about]) => line(title, about, say(before[name]), say(quality[name])));
    const expected = one.refinement && one.refinement.expected_error;
    if (expected) {
      rows.push(line("Expected error", "µm", say(expected.before), say(expected.after)));
      rows.push(line("Nine of ten are below", "µm", say(expected.bound90_before), say(expected.bound90_after)));
    }
    for (const [title, value] of [
      ["Image", String(one.image_id)],
      ["Full size", `${one.width} × ${one.height} pixels`],
      ["Tier that was used", String(one.downsample)],
    ]) rows.push(make("tr", {}, make("th", { scope: "row" }, title), make("td", { colspan: two ? 2 : 1 }, value)));
    for (const [what, problem] of Object.entries(one.problems)) {
      rows.push(make("tr", {}, make("th", { scope: "row" }, `No ${what}`), make("td", { style: "white-space: normal", colspan: two ? 2 : 1 }, problem)));
    }
    body.replaceChildren(...rows);
  };
  const listSteps = (one) => {
    const list = $("section-steps");
    if (!list) return;
    const steps = one.refinement ? one.refinement.steps || [] : [];
    list.replaceChildren(...steps.map((step) => {
      const told = GUARDED.filter(([name]) => name in step.before)
        .map(([name, title]) => `${title} ${say(step.before[name])} → ${say(step.after[name])}`);
      const what = step.kept ? `moved by up to ${step.moved.toFixed(0)} µm. ` : "stayed. ";
      return make("li", {}, ...(step.step === "none" ? [] : [make("b", {}, step.step), ": "]),
        what, step.reason, " ", make("span", { class: "light" }, told.join(", ")));
    }), ...(steps.length ? [] : [make("li", {}, "No step has been tried on it.")]));
  };
  const listStructures = (one) => {
    const list = $("structures");
    const areas = Object.entries(one.structures_mm2).sort((a, b) => b[1] - a[1]);
    $("structure-count").textContent = areas.length ? `${areas.length}, the largest first; area in mm²` : "";
    if (!list) return;
    list.replaceChildren(...areas.map(([id, area]) => {
      const { acronym, name, color } = structures[id];
      const swatch = make("i", {});
      swatch.style.setProperty("--c", `#${color}`);
      const expected = one.refinement && one.refinement.expected_error;
      const off = expected && expected.structures && expected.structures[id];
      const told = off ? `${name}; expected error ${say(off[0])} → ${say(off[1])} µm` : name;
      const button = make("button", { type: "button", title: told, class: `s${id}`, "data-id": id },
        swatch, acronym, make("span", {}, say(area, 2)));
      button.setAttribute("aria-label", `${acronym}, ${name}, ${say(area, 2)} mm²`);
      return make("li", {}, button);
    }));
    list.scrollTop = 0;
  };

  $("previous").addEventListener("click", () => go(now - 1));
  $("next").addEventListener("click", () => go(now + 1));
  $("which").addEventListener("input", (event) => go(Number(event.target.value)));
  cut.addEventListener("input", setCut);
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", drag);
  for (const control of [versus, showLines, showColours, showMask]) if (control) control.addEventListener("change", compare);
  for (const [node, on, off] of [[stage, "pointerover", "pointerout"], [$("structures"), "pointerover", "pointerout"], [$("structures"), "focusin", "focusout"]]) {
    if (!node) continue;
    node.addEventListener(on, (event) => {
      const found = event.target.closest("[data-id]");
      if (found) light(Number(found.dataset.id));
    });
    node.addEventListener(off, () => light(null));
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-go], a[data-image]");
    if (!link) return;
    go("go" in link.dataset ? Number(link.dataset.go)
      : sections.findIndex((one) => String(one.image_id) === link.dataset.image));
  });
  for (const choice of document.querySelectorAll("#switch input")) choice.addEventListener("change", () => { draw(); compare(); });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const choice = $({ b: "show-before", a: "show-after", o: "show-both" }[event.key]);
    if (choice && !event.target.closest("input:not([type=radio], [type=checkbox], [type=range]), select, textarea")) {
      choice.click();
      return;
    }
    if (event.target.closest("input, select, textarea, .scroll, .wide")) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    go(now + step);
  });

  /* ---- regions ---- */
  const regions = () => {
    const { columns, rows } = figures.regions;
    const place = Object.fromEntries(columns.map((name, k) => [name, k]));
    const heads = [...document.querySelectorAll("#region-table th")];
    const shown = heads.map((head) => head.dataset.column);
    const body = $("region-table").tBodies[0];
    let by = "energy" in place ? "energy" : "stained_fraction";
    let down = true;

    const order = (a, b) => {
      const x = a[place[by]], y = b[place[by]];
      // what is not known comes last, whichever way
      if (x === null || y === null) return (x === null) - (y === null);
      const least = typeof x === "string" ? x.localeCompare(y) : x - y;
      return down ? -least : least;
    };
    const show = () => {
      const wanted = $("filter").value.trim().toLowerCase();
      const side = $("hemisphere").value;
      const least = Number($("least").value) || 0;
      const found = rows.filter((row) =>
        (!side || row[place.hemisphere] === side) && row[place.sections] >= least &&
        (!wanted || row[place.acronym].toLowerCase().includes(wanted) || row[place.name].toLowerCase().includes(wanted)));
      found.sort(order);
      const largest = Math.max(...found.filter((row) => row[place.kind] === "structure").map((row) => row[place[by]] || 0), 1e-12);
      const made = document.createDocumentFragment();
      for (const row of found) {
        const line = document.createElement("tr");
        for (const name of shown) {
          const value = row[place[name]], cell = document.createElement("td");
          if (name === "acronym") {
            const known = structures[row[place.structure_id]];
            const swatch = document.createElement("i");
            if (known) swatch.style.setProperty("--c", `#${known.color}`);
            cell.append(swatch, side ? value : `${value} · ${row[place.hemisphere]}`);
          } else if (typeof value === "string") {
            cell.textContent = value;
          } else {
            cell.className = "n";
            cell.textContent = say(value);
            if (name === by && value > 0) {
              cell.classList.add("bar-cell");
              cell.style.setProperty("--v", `${Math.min((100 * value) / largest, 100).toFixed(1)}%`);
            }
          }
          line.append(cell);
        }
        made.append(line);
      }
      body.replaceChildren(made);
      $("table-count").textContent = `${found.length} of ${rows.length} rows`;
      for (const head of heads) {
        if (head.dataset.column === by) head.setAttribute("aria-sort", down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      }
    };
    for (const head of heads) {
      head.firstElementChild.addEventListener("click", () => {
        const name = head.dataset.column;
        down = name === by ? !down : !["acronym", "name"].includes(name);
        by = name;
        show();
      });
    }
    for (const id of ["filter", "hemisphere", "least"]) $(id).addEventListener("input", show);
    $("save-csv").addEventListener("click", () => {
      save(`${figures.dataset.id}-regions.csv`, "text/csv", [columns, ...rows].map((row) => row.map(field).join(",")).join("\n") + "\n");
    });
    show();
  };

  /* A cell of CSV in which no text is a formula; the rule of atldld.support.text.cell_of. */
  const FORMULA = /^'*([ \t\r\n]*[=+\-@＝＋－＠][^]|[\t\r\n])/;
  const NUMBER = /^\s*([+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?\s*%?|[+-]?(inf|infinity|nan))\s*$/i;
  const field = (value) => {
    if (value === null) return "";
    let text = String(value);
    if (typeof value === "string" && FORMULA.test(text) && !NUMBER.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };

  /* ---- volume ---- */
  const volume = () => {
    const cuts = read("volume-data");
    const boxes = [...document.querySelectorAll(".cuts figure")];
    const sliders = boxes.map((box) => box.querySelector("input"));
    const AXES = [["r", "i"], ["p", "i"], ["p", "r"]];
    const show = () => {
      const at = Object.fromEntries(cuts.map((one, k) => [one.axis, (Number(sliders[k].value) + 0.5) / one.pictures.length]));
      cuts.forEach((one, k) => {
        const place = Number(sliders[k].value);
        const [picture, lines] = boxes[k].querySelectorAll("img");
        if (picture.dataset.place !== String(place)) {
          picture.src = one.pictures[place];
          if (one.lines.length) lines.src = one.lines[place];
          picture.dataset.place = place;
        }
        lines.hidden = !(one.lines.length && $("show-borders").checked);
        boxes[k].querySelector("output").textContent = ((place + 0.5) * one.step).toFixed(0);
        const [across, down] = AXES[k];
        const crosses = !$("show-cross") || $("show-cross").checked;
        const [horizontal, vertical] = boxes[k].querySelectorAll(".cross");
        horizontal.hidden = vertical.hidden = !crosses;
        horizontal.style.top = `${100 * at[down]}%`;
        vertical.style.left = `${100 * at[across]}%`;
      });
    };
    for (const slider of sliders) slider.addEventListener("input", show);
    for (const id of ["show-borders", "show-cross"]) if ($(id)) $(id).addEventListener("change", show);
    show();
  };

  /* ---- how it was made ---- */
  const save = (name, kind, text) => {
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: kind })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  $("save-json").addEventListener("click", () => save(`${figures.dataset.id}-report.json`, "application/json", JSON.stringify(figures, null, 1)));
  $("copy").addEventListener("click", async () => {
    const text = $("methods").textContent;
    try {
      await navigator.clipboard.writeText(text);
      $("copied").textContent = "Copied.";
    } catch {
      // a page from disk may not be let near the clipboard: the paragraph is marked instead
      const range = document.createRange();
      range.selectNodeContents($("methods"));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      $("copied").textContent = document.execCommand("copy") ? "Copied." : "Marked; copy it with Ctrl-C.";
    }
  });

  setCut();
  go(Math.floor((sections.length - 1) / 2));
  if (figures.regions) regions();
  if (document.querySelector(".cuts")) volume();
})();
