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
  /* A number as people read it; the rule of atldld.report.charts.number. */
  const say = (value, digits = 3) => {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    const size = Math.abs(value), sign = value < 0 ? "−" : "";
    if (size === 0) return "0";
    if (size < 1e-3) return value > 0 ? "<\u00a00.001" : ">\u00a0−0.001";
    if (size >= 99.95) return sign + Math.round(size).toLocaleString("en-US");
    return sign + String(Number(size.toPrecision(digits)));
  };
  const checked = (name) => {
    const found = document.querySelector(`input[name="${name}"]:checked`);
    return found ? found.value : null;
  };

  /* ---- which structure it is ---- */
  const lineage = (id) => {
    const above = [];
    // what all structures lie in tells nothing
    for (let one = structures[id] && structures[id].parent; one && structures[one] && structures[one].parent; one = structures[one].parent) {
      above.unshift(structures[one].name);
    }
    return above.join(" › ");
  };
  const name = (id) => [
    make("b", {}, structures[id].acronym), ` ${structures[id].name}`,
    ...(lineage(id) ? [make("span", { class: "path" }, ` ${lineage(id)}`)] : []),
  ];
  const tip = $("tip");
  const place = (x, y) => {
    const width = tip.offsetWidth, height = tip.offsetHeight;
    const right = x + 16 + width < innerWidth ? x + 16 : x - 16 - width;
    tip.style.left = `${Math.min(Math.max(right, 8), Math.max(innerWidth - width - 8, 8))}px`;
    tip.style.top = `${y + 20 + height < innerHeight ? y + 20 : Math.max(y - 14 - height, 8)}px`;
  };
  let lit = null;
  const light = (id, event) => {
    if (id !== lit) {
      for (const node of document.querySelectorAll(".lit")) node.classList.remove("lit");
      lit = id;
      if (id !== null) {
        for (const node of document.querySelectorAll(`[data-id="${id}"]`)) node.classList.add("lit");
        if ($("under")) $("under").replaceChildren(...name(id));
        tip.replaceChildren(...name(id));
      }
    }
    tip.hidden = id === null || !event;
    if (!tip.hidden) place(event.clientX, event.clientY);
  };
  document.addEventListener("pointermove", (event) => {
    const found = event.target.closest && event.target.closest(".still, .stage, .chips");
    const shape = found && event.target.closest("[data-id]");
    light(shape ? Number(shape.dataset.id) : null, shape && !found.classList.contains("chips") ? event : null);
  });
  document.addEventListener("pointerdown", (event) => {
    const shape = event.target.closest && event.target.closest(".stage [data-id]");
    if (shape) light(Number(shape.dataset.id), event.pointerType === "mouse" ? event : null);
  });
  document.addEventListener("pointerleave", () => light(null, null));
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  /* ---- section by section ---- */
  const stage = $("stage"), cut = $("cut");
  const choice = { left: $("left"), right: $("right") };
  const showLines = $("show-lines"), showColours = $("show-colours"), showMask = $("show-mask");
  const FIGURES = read("figure-names"), GUARDED = read("guarded-names");
  const LABELS = {};
  for (const option of [...choice.left.options]) {
    LABELS[option.value] = option.textContent;
    choice.right.append(make("option", { value: option.value }, option.textContent));
  }
  let now = -1;
  let data = null;

  const go = (wanted, quiet) => {
    const at = Math.min(Math.max(wanted, 0), sections.length - 1);
    if (at === now) return;
    now = at;
    const one = sections[now];
    data = read(`data-${one.image_id}`);
    const odd = Boolean(one.quality && one.quality.suspicious);
    const axis = one.third_coordinate.axis;
    $("which").value = now;
    $("said").textContent =
      `Section ${one.section_number} · ${now + 1} of ${sections.length} · ` +
      `${axis} = ${(one.coordinate_um / 1000).toFixed(2)} mm · tilt ${one.tilt_degrees.toFixed(1)}°`;
    $("previous").disabled = now === 0;
    $("next").disabled = now === sections.length - 1;
    $("why").hidden = !odd;
    $("why").textContent = odd ? `▲ Suspicious: ${one.reasons.join("; ") || "its figures depart from its neighbours’"}.` : "";
    show();
    tellMove(one);
    listFigures(one);
    listSteps(one);
    listStructures(one);
    for (const link of document.querySelectorAll("a.now")) { link.classList.remove("now"); link.removeAttribute("aria-current"); }
    for (const link of document.querySelectorAll(`.film a[data-go="${now}"], .heat a[data-go="${now}"], svg a[data-go="${now}"]`)) {
      link.classList.add("now");
      link.setAttribute("aria-current", "true");
    }
    for (const row of strips) rove(row);
    if (!quiet) history.replaceState(null, "", `#s-${one.image_id}`);
  };

  /* What a side can show: a picture, the outlines that belong on it, and whether it is dark. */
  const layer = (kind) => {
    const { columns, rows, outline_units_per_pixel: units } = figures.picture;
    const [width, height] = data.raw_size;
    const one = sections[now], was = data.before;
    const which = checked("alignment") || "after";
    const old = which !== "after" && was, current = which !== "before" || !was;
    const grid = { box: [columns, rows], scale: `scale(${1 / units})` };
    const what = `Section ${one.section_number}`;
    if (kind === "raw") {
      return {
        src: data.raw, alt: `${what} as scanned`, absent: one.problems.raw || "The picture as scanned is not there.",
        box: [width, height],
        lines: [
          current && [data.raw_shapes || data.shapes, `matrix(${data.to_raw.join(" ")})`, "is"],
          old && [was.raw_shapes, `matrix(${was.to_raw.join(" ")})`, "was"],
        ],
      };
    }
    const lines = [current && [data.shapes, grid.scale, "is"], old && [was.shapes, grid.scale, "was"]];
    if (kind === "before") {
      if (!was) return { ...layer("registered"), tag: "not moved" };
      return {
        src: was.registered, alt: `${what} as it lay before`, absent: "The section as it lay before is not there.",
        box: grid.box, lines: [[was.own_shapes, grid.scale, "was"]],
      };
    }
    if (kind === "mask") return { src: data.mask, alt: `${what}: expression mask`, dark: true, absent: one.problems.mask ? `No mask: ${one.problems.mask}` : "No mask here.", box: grid.box, lines };
    if (kind === "template") return { src: data.template, alt: "The atlas’s template in the same plane", dark: true, absent: one.problems.template || "No template here.", box: grid.box, over: true, lines: [[data.shapes, grid.scale, "is"]] };
    return { src: data.registered, alt: `${what} in the brain’s coordinates`, box: grid.box, over: true, lines };
  };
  const show = () => {
    const alone = choice.right.value === "";
    stage.classList.toggle("alone", alone);
    stage.dataset.mode = checked("mode");
    cut.disabled = alone || stage.dataset.mode === "beside";
    for (const radio of document.querySelectorAll("input[name=mode]")) radio.disabled = alone;
    $("cut-label").textContent = stage.dataset.mode === "blend" ? "Blend" : "Slide";
    for (const side of ["left", "right"]) {
      const kind = choice[side].value;
      if (kind) drawLayer(side, kind);
    }
  };
  const setPicture = (node, source, alt) => {
    node.hidden = !source;
    if (source) node.src = source; else node.removeAttribute("src");
    node.alt = source ? alt : "";
  };
  const drawLayer = (side, kind) => {
    const one = layer(kind);
    const masked = Boolean(one.over && showMask && showMask.checked && data.mask);
    $(`layer-${side}`).classList.toggle("dark", Boolean(one.dark && one.src));
    setPicture($(`${side}-picture`), one.src, one.alt);
    setPicture($(`${side}-mask`), masked ? data.mask : null, "Expression, laid over");
    if (masked) $(`${side}-mask`).style.opacity = $("mask-opacity").value / 100;
    $(`${side}-absent`).hidden = Boolean(one.src);
    $(`${side}-absent`).textContent = one.src ? "" : one.absent;
    $(`${side}-tag`).textContent = one.tag ? `${LABELS[kind]}: ${one.tag}` : LABELS[kind];
    const svg = $(`${side}-lines`);
    svg.setAttribute("viewBox", `0 0 ${one.box.join(" ")}`);
    svg.setAttribute("preserveAspectRatio", "xMidYMid meet");
    svg.classList.toggle("bare", !(showLines && showLines.checked));
    svg.classList.toggle("coloured", Boolean(showColours && showColours.checked));
    svg.replaceChildren(...(one.src ? one.lines.filter(Boolean).map((group) => drawGroup(...group)) : []));
  };
  const drawGroup = (shapes, transform, kind) => {
    const made = document.createElementNS(SVG, "g");
    made.setAttribute("transform", transform);
    made.setAttribute("class", kind);
    for (const [id, d] of shapes) {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", d);
      path.style.setProperty("--c", `#${structures[id].color}`);
      path.dataset.id = id;
      made.append(path);
    }
    return made;
  };
  const tellMove = (one) => {
    const told = $("moved-here");
    if (!told) return;
    const { moved_um: moved } = one;
    if (!moved) told.textContent = "This section was not placed before.";
    else if (!data.before) told.textContent = "This section has not moved.";
    else told.textContent = `This section has moved by ${moved.median.toFixed(0)} µm (median), ${moved.most.toFixed(0)} µm at most.`;
  };
  const setCut = () => stage.style.setProperty("--cut", `${cut.value}%`);
  const drag = (event) => {
    if (cut.disabled || stage.dataset.mode !== "slide" || (event.type === "pointermove" && !event.buttons)) return;
    if (event.type === "pointerdown") { try { stage.setPointerCapture(event.pointerId); } catch { /* it is gone already */ } }
    const box = stage.getBoundingClientRect();
    cut.value = Math.min(Math.max((100 * (event.clientX - box.left)) / box.width, 0), 100);
    setCut();
  };

  const listFigures = (one) => {
    const body = $("section-figures").tBodies[0];
    const quality = one.quality || {};
    const two = Boolean(figures.alignments), before = one.quality_before || {};
    const line = (title, about, was, is) => make("tr", { title: about },
      make("th", { scope: "row" }, title, about.startsWith("µm") ? ", µm" : ""),
      ...(two ? [make("td", {}, was)] : []), make("td", {}, is));
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
      const button = make("button", { type: "button", title: told, "data-id": id },
        swatch, acronym, make("span", {}, say(area, 2)));
      button.setAttribute("aria-label", `${acronym}, ${name}, ${say(area, 2)} mm²`);
      return make("li", {}, button);
    }));
    list.scrollTop = 0;
  };

  const rove = (row) => {
    // one stop for the Tab key; arrows go through the sections
    const links = row.querySelectorAll("a[data-go]");
    for (const link of links) link.tabIndex = Number(link.dataset.go) === now ? 0 : -1;
    const current = row.querySelector("a.now");
    const box = row.classList.contains("heat") ? row.querySelector(".heat-bands") : row;
    if (current && box.scrollWidth > box.clientWidth) {
      const item = current.closest("li") || current;
      const middle = item.offsetLeft + item.offsetWidth / 2 - box.offsetLeft;
      box.scrollTo({ left: middle - box.clientWidth / 2, behavior: "instant" });
    }
  };
  const strips = [$("film"), $("heat")].filter(Boolean);
  const viewed = () => { $("viewer").scrollIntoView({ block: "start" }); };

  $("previous").addEventListener("click", () => go(now - 1));
  $("next").addEventListener("click", () => go(now + 1));
  $("which").addEventListener("input", (event) => go(Number(event.target.value)));
  cut.addEventListener("input", setCut);
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", drag);
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  for (const control of [choice.left, choice.right, showLines, showColours, showMask, ...document.querySelectorAll("#mode input, #switch input")]) {
    if (control) control.addEventListener("change", show);
  }
  if ($("mask-opacity")) $("mask-opacity").addEventListener("input", show);
  $("swap").addEventListener("click", () => {
    const { left, right } = choice;
    if (!right.value) return;
    [left.value, right.value] = [right.value, left.value];
    show();
  });
  if ($("structures")) {
    $("structures").addEventListener("focusin", (event) => {
      const found = event.target.closest("[data-id]");
      if (found) light(Number(found.dataset.id), null);
    });
    $("structures").addEventListener("focusout", () => light(null, null));
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-go]");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(Number(link.dataset.go));
    if (!link.closest(".film")) viewed();
  });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const chosen = $({ b: "show-before", a: "show-after", o: "show-both" }[event.key]);
    if (chosen && !event.target.closest("input:not([type=radio], [type=checkbox], [type=range]), select, textarea")) {
      chosen.click();
      return;
    }
    if (event.target.closest("input, select, textarea, .scroll, .wide")) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const row = event.target.closest(".film, .heat");
    go(now + step);
    if (row) row.querySelector("a.now").focus({ preventScroll: true });
  });

  /* ---- where one is on the page ---- */
  const parts = [...document.querySelectorAll("nav a")].map((link) => [link, document.querySelector(link.hash)]).filter(([, part]) => part);
  let waiting = false;
  const mark = () => {
    waiting = false;
    const line = innerHeight / 3;
    let here = parts[0];
    for (const part of parts) if (part[1].getBoundingClientRect().top <= line) here = part;
    if (innerHeight + scrollY >= document.documentElement.scrollHeight - 2) here = parts[parts.length - 1];
    for (const [link] of parts) {
      const is = link === here[0];
      if (is && !link.classList.contains("here")) {
        const bar = link.parentElement;
        bar.scrollTo({ left: link.offsetLeft - bar.offsetLeft - bar.clientWidth / 2 + link.offsetWidth / 2 });
      }
      link.classList.toggle("here", is);
      if (is) link.setAttribute("aria-current", "location"); else link.removeAttribute("aria-current");
    }
  };
  addEventListener("scroll", () => { if (!waiting) { waiting = true; requestAnimationFrame(mark); } }, { passive: true });
  mark();

  /* ---- regions ---- */
  let open = null; // shows a structure in the table
  const regions = () => {
    const { columns, rows } = figures.regions;
    const at = Object.fromEntries(columns.map((name, k) => [name, k]));
    const heads = [...document.querySelectorAll("#region-table thead th")];
    const shown = heads.map((head) => head.dataset.column);
    const body = $("region-table").tBodies[0];
    const main = "energy" in at ? "energy" : "stained_fraction";
    const few = rows.length < 200;
    let by = main, down = true;
    const opened = new Set();
    for (const row of rows) if (few || row[at.depth] <= 3) opened.add(row[at.structure_id]);
    let wanted = null;

    const order = (a, b) => {
      const x = a[at[by]], y = b[at[by]];
      if (by === "name") return down ? 0 : -1; // the order of the atlas
      // what is not known comes last, whichever way
      if (x === null || y === null) return (x === null) - (y === null);
      return down ? y - x : x - y;
    };
    const cell = (value, named, largest) => {
      const made = make("td", { class: "n" }, say(value));
      if (named === by && value > 0) {
        made.classList.add("bar-cell");
        made.style.setProperty("--v", `${Math.min((100 * value) / largest, 100).toFixed(1)}%`);
      }
      return made;
    };
    const line = (row, depth, children, largest, matches) => {
      const id = row[at.structure_id], known = structures[id];
      const swatch = make("i", {});
      if (known) swatch.style.setProperty("--c", `#${known.color}`);
      const head = make("th", { scope: "row", title: row[at.name] });
      head.style.setProperty("--depth", depth);
      if (depth !== null && children) {
        head.append(make("button", { type: "button", class: "twist", "data-twist": id, "aria-expanded": String(opened.has(id)), "aria-label": `Parts of ${row[at.name]}` }, opened.has(id) ? "▾" : "▸"));
      } else if (depth !== null) head.append(make("span", { class: "leaf" }));
      head.append(swatch, make("b", {}, row[at.acronym]), " ", make("span", {}, row[at.name]));
      const made = make("tr", { "data-row": id, ...(matches ? { class: "found" } : {}) }, head);
      for (const name of shown.slice(1)) made.append(cell(row[at[name]], name, largest));
      return made;
    };
    const fill = () => {
      const sought = $("filter").value.trim().toLowerCase();
      const side = $("hemisphere").value;
      const least = Number($("least").value) || 0;
      const tree = checked("shape") === "tree";
      const here = rows.filter((row) => row[at.hemisphere] === side || (row[at.kind] === "outside" && row[at.hemisphere] === "both"));
      const meets = (row) => (!sought || row[at.acronym].toLowerCase().includes(sought) || row[at.name].toLowerCase().includes(sought))
        && row[at.sections] >= least;
      const found = here.filter(meets);
      const largest = Math.max(...here.filter((row) => row[at.kind] === "structure" && row[at.sections] >= least).map((row) => row[at[by]] || 0), 1e-12);
      const made = document.createDocumentFragment();
      if (!tree) {
        for (const row of [...found].sort(order)) made.append(line(row, null, false, largest, false));
      } else {
        // 0 is what roots lie in, and the outside
        const ids = new Set(here.map((row) => row[at.structure_id]).filter((id) => id !== 0));
        const kept = new Set(found.map((row) => row[at.structure_id]));
        const parents = new Map(here.map((row) => [row[at.structure_id], row[at.parent_id]]));
        // what a match lies in is shown too
        for (const id of [...kept]) for (let up = parents.get(id); ids.has(up) && !kept.has(up); up = parents.get(up)) kept.add(up);
        const parts = new Map();
        for (const row of here) {
          if (!kept.has(row[at.structure_id])) continue;
          const parent = ids.has(row[at.parent_id]) ? row[at.parent_id] : null;
          if (!parts.has(parent)) parts.set(parent, []);
          parts.get(parent).push(row);
        }
        const walk = (parent, depth) => {
          for (const row of [...(parts.get(parent) || [])].sort(order)) {
            const id = row[at.structure_id], inner = parts.has(id);
            made.append(line(row, depth, inner, largest, sought && meets(row)));
            if (inner && (opened.has(id) || sought)) walk(id, depth + 1);
          }
        };
        walk(null, 0);
      }
      body.replaceChildren(made);
      const all = here.length;
      $("table-count").textContent = sought || found.length < all
        ? `${found.length} of ${all} structures${sought ? " match" : `; ${all - found.length} are on fewer sections`}.`
        : `${all} structures.`;
      for (const head of heads) {
        if (head.dataset.column === by) head.setAttribute("aria-sort", down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      }
      $("open-all").disabled = $("close-all").disabled = !tree || Boolean(sought);
      if (wanted !== null) {
        const row = body.querySelector(`[data-row="${wanted}"]`);
        if (row) {
          row.classList.add("found");
          const box = document.querySelector("#regions .scroll");
          box.scrollTop = row.offsetTop - box.clientHeight / 2;
        }
        wanted = null;
      }
    };
    open = (id) => {
      $("filter").value = "";
      const parents = new Map(rows.map((row) => [row[at.structure_id], row[at.parent_id]]));
      for (let up = parents.get(id); up; up = parents.get(up)) opened.add(up);
      wanted = id;
      fill();
    };
    body.addEventListener("click", (event) => {
      const twist = event.target.closest("[data-twist]");
      if (!twist) return;
      const id = Number(twist.dataset.twist);
      if (!opened.delete(id)) opened.add(id);
      fill();
      const again = body.querySelector(`[data-twist="${id}"]`);
      if (again) again.focus({ preventScroll: true });
    });
    for (const head of heads) {
      head.firstElementChild.addEventListener("click", () => {
        const name = head.dataset.column;
        down = name === by ? !down : true;
        by = name;
        fill();
      });
    }
    for (const id of ["filter", "hemisphere", "least"]) $(id).addEventListener("input", fill);
    for (const radio of document.querySelectorAll("#shape input")) radio.addEventListener("change", fill);
    $("open-all").addEventListener("click", () => { for (const row of rows) opened.add(row[at.structure_id]); fill(); });
    $("close-all").addEventListener("click", () => { opened.clear(); fill(); });
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-structure]");
      if (link) open(Number(link.dataset.structure));
    });
    $("save-csv").addEventListener("click", () => {
      save(`${figures.dataset.id}-regions.csv`, "text/csv", [columns, ...rows].map((row) => row.map(field).join(",")).join("\n") + "\n");
    });
    fill();
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
        const depth = ((place + 0.5) * one.step / 1000).toFixed(2);
        boxes[k].querySelector("output").textContent = depth;
        sliders[k].setAttribute("aria-valuetext", `${depth} mm`);
        const [across, down] = AXES[k];
        const [horizontal, vertical] = boxes[k].querySelectorAll(".cross");
        horizontal.hidden = vertical.hidden = !$("show-cross").checked;
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

  choice.right.value = figures.atlas ? "template" : sections.some((one) => !one.problems.raw) ? "raw" : "";
  if (figures.alignments) { choice.left.value = "before"; choice.right.value = "registered"; }
  setCut();
  const linked = () => sections.findIndex((one) => location.hash === `#s-${one.image_id}`);
  const first = linked();
  go(first >= 0 ? first : Number($("which").getAttribute("value")), true);
  addEventListener("hashchange", () => { if (linked() >= 0) go(linked(), true); });
  if (figures.regions) regions();
  if (document.querySelector(".cuts")) volume();
  if (first >= 0) viewed();
})();
