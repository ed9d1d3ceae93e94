// The keys. Whatever the mouse does, one of them does too.

export const KEYS = [
  {
    title: "Sections",
    keys: [
      ["N or P", "Next or previous section"],
      ["C", "Confirm this section"],
      ["X", "Leave this section out"],
      ["E", "Write a note"],
      ["F", "Fit this section from here"],
    ],
  },
  {
    title: "Moving the atlas",
    keys: [
      ["← → ↑ ↓", "Shift by 10 µm; with Shift by 100"],
      ["Page↑ Page↓", "Depth by 10 µm; with Shift by 100"],
      [", .", "Turn by ¼°; with Shift by 2°"],
      ["I K J L", "Tilt by ¼°; with Shift by 1°"],
      ["[ ]", "Smaller or larger by ½ %; with Shift by 2 %"],
      ["U O", "Shear by ½ %; with Shift by 2 %"],
      ["Ctrl+Z", "Undo; with Shift redo"],
      ["Esc", "Give up what is being moved"],
    ],
  },
  {
    title: "Markers",
    keys: [
      ["M", "Add one in the middle of what is seen"],
      ["← → ↑ ↓", "In the list: move the chosen marker; with Shift farther"],
      ["Delete", "Delete the chosen marker"],
    ],
  },
  {
    title: "Looking",
    keys: [
      ["1 2 3", "Look around, move the atlas, set markers"],
      ["+ -", "Zoom in or out"],
      ["0", "The whole picture"],
      ["B", "Hold down: without the atlas"],
      ["S", "Swipe, or lay over"],
      ["T", "Colours, template, or borders alone"],
      ["D", "More detail; with Shift less"],
      ["A", "Fit proposed: before or after"],
      ["?", "This page"],
    ],
  },
];

let single = true;
try {
  single = localStorage.getItem("atldld-single-keys") !== "off";
} catch {
  // a browser that keeps nothing starts with them
}

export const singleKeys = () => single;

export function useSingleKeys(wanted) {
  single = wanted;
  try {
    localStorage.setItem("atldld-single-keys", wanted ? "on" : "off");
  } catch {
    // it then holds until the page is closed
  }
}
