/**
 * @file One line of progress on stderr: count, rate, time left. On a terminal it is redrawn; elsewhere (logs, CI) a
 * line appears now and then. (npm's bars print nothing, or every step, where there is no terminal.)
 */

const REDRAW_MILLISECONDS = 100;
const LINE_MILLISECONDS = 15_000;

/** A running count. */
export class Progress implements Disposable {
  readonly #label: string;
  #total: number | undefined;
  readonly #unit: string;
  readonly #started = performance.now();
  readonly #terminal = Deno.stderr.isTerminal();
  #done = 0;
  #detail = "";
  #drawn: number;
  #shown = false;

  /** Starts counting from 0, to `total` if it is known; `unit` is what is counted ("steps", "tasks", "B" for bytes). */
  constructor(label: string, total?: number, unit = "") {
    this.#label = label;
    this.#total = total;
    this.#unit = unit;
    this.#drawn = this.#started;
  }

  /** Sets the count, with what else is worth seeing (a loss, a file's name). */
  update(done: number, detail = ""): void {
    this.#done = done;
    this.#detail = detail;
    const now = performance.now();
    if (now - this.#drawn < (this.#terminal ? REDRAW_MILLISECONDS : LINE_MILLISECONDS)) return;
    this.#drawn = now;
    this.#draw();
  }

  /** Sets the count and the total: for functions that report both (bound, so that it can be handed over). */
  readonly of = (done: number, total: number, detail = ""): void => {
    this.#total = total;
    this.update(done, detail);
  };

  /** Adds to the count. */
  advance(by = 1, detail = ""): void {
    this.update(this.#done + by, detail);
  }

  /** Ends the line: whoever saw it move sees where it ended. */
  finish(): void {
    if (!this.#shown) return;
    this.#draw();
    if (this.#terminal) write("\n");
    this.#shown = false;
  }

  /** The same as `finish`. */
  [Symbol.dispose](): void {
    this.finish();
  }

  #draw(): void {
    this.#shown = true;
    const seconds = (performance.now() - this.#started) / 1000;
    const line = progressLine(this.#label, this.#done, this.#total, this.#unit, seconds, this.#detail);
    const bar = this.#terminal && this.#total !== undefined ? `${progressBar(this.#done, this.#total)} ` : "";
    write(this.#terminal ? `\r\x1b[2K${(bar + line).slice(0, columns())}` : `${line}\n`);
  }
}

/** How much is done, as a bar of 12 characters, an eighth of one the least that is seen. */
export function progressBar(done: number, total: number): string {
  const width = 12, eighths = Math.floor(8 * width * Math.min(1, total > 0 ? done / total : 1));
  const full = "█".repeat(eighths >> 3), part = eighths % 8 === 0 ? "" : "▏▎▍▌▋▊▉"[eighths % 8 - 1];
  return `${(full + part).padEnd(width, "░")}`;
}

/** The line itself, e.g. `MoE: 40/200 steps, 2.0 steps/s, 1:20 left, loss 1.31`. */
export function progressLine(
  label: string,
  done: number,
  total: number | undefined,
  unit: string,
  seconds: number,
  detail: string,
): string {
  const rate = seconds > 0 ? done / seconds : 0;
  const parts = [`${label}: ${amount(done, unit)}${total === undefined ? "" : `/${amount(total, unit)}`}`];
  if (unit && unit !== "B") parts[0] += ` ${unit}`;
  if (rate > 0) parts.push(unit === "B" ? `${amount(rate, unit)}/s` : `${rate.toPrecision(2)}${unit && ` ${unit}`}/s`);
  if (rate > 0 && total !== undefined && done < total) parts.push(`${clock((total - done) / rate)} left`);
  if (detail) parts.push(detail);
  return parts.join(", ");
}

/** Seconds as `0:07`, `12:34` or `1:02:03`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const two = (value: number): string => String(value).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function amount(value: number, unit: string): string {
  if (unit !== "B") return String(value);
  return value >= 1 << 20 ? `${(value / (1 << 20)).toFixed(1)} MiB` : `${(value / 1024).toFixed(0)} KiB`;
}

function columns(): number {
  try {
    return Deno.consoleSize().columns - 1;
  } catch {
    return 100;
  }
}

function write(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}
