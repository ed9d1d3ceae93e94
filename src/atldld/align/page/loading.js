// Pictures that may come late: thumbnails and cuts. Few are under way at a time: of the browser's six
// lines to the server, tiles take three and these two, so that one is always free for the atlas.

import { address } from "./server.js";

const AT_ONCE = 2;
const TRIES = 5;
const PAUSE = 2000; // ms before one that has failed is asked for again

const waiting = []; // { image, path, tries }
const underWay = new Map(); // image → what is asked for next in its place, or null

/** Load a picture when there is a line free; `first` goes before what waits already. */
export function loadPicture(image, path, { first = false } = {}) {
  const wanted = { image, path, tries: 0 };
  if (underWay.has(image)) {
    underWay.set(image, wanted); // of several that are asked for meanwhile, the newest
    return;
  }
  const place = waiting.findIndex((one) => one.image === image);
  if (place >= 0) waiting.splice(place, 1);
  if (first) waiting.unshift(wanted);
  else waiting.push(wanted);
  loadNext();
}

function loadNext() {
  while (underWay.size < AT_ONCE && waiting.length) begin(waiting.shift());
}

function begin(one) {
  const { image, path } = one;
  underWay.set(image, null);
  const ended = (failed) => () => {
    const newer = underWay.get(image);
    one.tries += 1;
    const next = newer ?? (failed && one.tries < TRIES ? one : null);
    const goOn = () => {
      const newest = underWay.get(image) ?? next;
      underWay.delete(image);
      if (newest) waiting.unshift(newest);
      loadNext();
    };
    if (failed) setTimeout(goOn, PAUSE);
    else goOn();
  };
  image.onload = ended(false);
  image.onerror = ended(true);
  image.fetchPriority = "low";
  image.src = address(path, one.tries ? { again: one.tries } : {});
}
