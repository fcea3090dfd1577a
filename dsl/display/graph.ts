/** @file Draws a graph of boxes as SVG: layers from top to bottom, no two boxes over each other. */

/** A box and those that an arrow comes from. */
export interface Box {
  /** Its name; arrows refer to it. */
  readonly id: string;
  /** Lines of text in it. */
  readonly lines: readonly string[];
  /** Shown where the pointer rests. */
  readonly title?: string;
  /** What sort of box it is: its colour. */
  readonly tone: "leaf" | "work" | "heavy" | "result";
  /** Boxes it needs; all stand before it in the list. */
  readonly inputs: readonly string[];
}

/** Where a box was drawn. */
export interface Placed {
  readonly box: Box;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

const character = 6.7, line = 14, margin = 7, gap = { x: 14, y: 34 };

const fills: Readonly<Record<Box["tone"], string>> = {
  leaf: "#eef1f5",
  work: "#e2efe6",
  heavy: "#fbe3cd",
  result: "#dfe6fb",
};

/** Text that stands in HTML or SVG as it is. */
export const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/** Places every box below all that it needs, near the middle of them. */
export function placeBoxes(boxes: readonly Box[]): Placed[] {
  const layerOf = new Map<string, number>(), layers: Box[][] = [], middles = new Map<string, number>();
  for (const box of boxes) {
    const layer = 1 + box.inputs.reduce((deepest, input) => Math.max(deepest, layerOf.get(input) ?? -1), -1);
    layerOf.set(box.id, layer);
    (layers[layer] ??= []).push(box);
  }
  const placed: Placed[] = [];
  let y = margin;
  for (const layer of layers) {
    const wishes = new Map(layer.map((box) => {
      const known = box.inputs.flatMap((input) => middles.get(input) ?? []);
      return [box, known.length > 0 ? known.reduce((a, b) => a + b) / known.length : 0];
    }));
    let x = margin, tallest = 0;
    for (const box of [...layer].sort((a, b) => wishes.get(a)! - wishes.get(b)!)) {
      const width = Math.max(...box.lines.map((text) => text.length)) * character + 2 * margin;
      const height = box.lines.length * line + margin;
      x = Math.max(x, wishes.get(box)! - width / 2);
      placed.push({ box, x, y, width, height });
      middles.set(box.id, x + width / 2);
      x += width + gap.x;
      tallest = Math.max(tallest, height);
    }
    y += tallest + gap.y;
  }
  return placed;
}

/** The picture, complete in itself. */
export function drawGraph(boxes: readonly Box[]): string {
  const placed = placeBoxes(boxes), byId = new Map(placed.map((each) => [each.box.id, each]));
  const width = Math.max(0, ...placed.map((each) => each.x + each.width)) + margin;
  const height = Math.max(0, ...placed.map((each) => each.y + each.height)) + margin;
  const number = (value: number): string => String(Math.round(value * 10) / 10);
  const edges = placed.flatMap(({ box, x, y, width }) =>
    [...new Set(box.inputs)].flatMap((input) => {
      const from = byId.get(input);
      if (!from) return [];
      const [x1, y1, x2, y2] = [from.x + from.width / 2, from.y + from.height, x + width / 2, y];
      const points = [x1, y1, x1, y1 + gap.y / 2, x2, y2 - gap.y / 2, x2, y2].map(number);
      const [a, b, c, d, e, f, g, h] = points;
      return `<path d="M${a} ${b}C${c} ${d} ${e} ${f} ${g} ${h}"/>`;
    })
  );
  const shapes = placed.map(({ box, x, y, width, height }) => {
    const title = box.title === undefined ? "" : `<title>${escape(box.title)}</title>`;
    const middle = number(x + width / 2);
    const words = box.lines.map((text, i) =>
      `<text x="${middle}" y="${number(y + line * (i + 1))}"${i > 0 ? ' fill="#5a6472"' : ""}>${escape(text)}</text>`
    );
    const corner = `x="${number(x)}" y="${number(y)}" width="${number(width)}" height="${number(height)}" rx="4"`;
    return `<g>${title}<rect ${corner} fill="${fills[box.tone]}" stroke="#8a94a3"/>${words.join("")}</g>`;
  });
  const [w, h] = [number(width), number(height)];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}" ` +
    `font-family="monospace" font-size="11" text-anchor="middle">` +
    `<g fill="none" stroke="#8a94a3">${edges.join("")}</g>${shapes.join("")}</svg>`;
}
