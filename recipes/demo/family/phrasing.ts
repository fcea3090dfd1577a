/** @file How the family's instructions are worded: openings, and sentences by the number of steps. */

/** Openings; `{}` is the introduction of the variable. */
export const openings: readonly string[] = [
  "Write a function that takes {}: ",
  "Given {}, ",
  "You get {}: ",
  "Create f for {}: ",
  "For {}, define f: ",
  "Make a Python function over {}: ",
  "I need a function of {}: ",
];

/**
 * Sentences for one, two and three steps; `{0}`, `{1}`, `{2}` are the steps in the order in which they run and `{end}`
 * the ending. Some name the steps in another order than they run: reading left to right is not enough.
 */
export const sentences: readonly (readonly string[])[] = [
  [
    "{0}, then {end}.",
    "{end} once you {0}.",
    "{0} and {end}.",
    "{end} after you {0}.",
  ],
  [
    "{0}, then {1}, then {end}.",
    "first {0}, next {1}, finally {end}.",
    "{end} once you {0} and then {1}.",
    "{0}, {1} and {end}.",
    "before you {1}, {0}; then {end}.",
    "{1}, but first {0}; finally {end}.",
    "after you {0}, {1}; then {end}.",
  ],
  [
    "{0}, then {1}, then {2}, then {end}.",
    "first {0}, next {1}, after that {2}, finally {end}.",
    "{0}, {1}, {2} and {end}.",
    "{end} once you {0}, {1} and then {2}.",
    "{1}, but first {0}; then {2} and {end}.",
    "before you {2}, {0} and then {1}; {end}.",
  ],
];
