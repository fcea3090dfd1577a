/** @file Small functions over bytes. */

/** The bytes of all parts, one after the other. */
export function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** SHA-256 as lower-case hexadecimal. */
export async function sha256(...parts: (Uint8Array<ArrayBuffer> | string)[]): Promise<string> {
  const bytes = parts.map((part) => typeof part === "string" ? new TextEncoder().encode(part) : part);
  const digest = await crypto.subtle.digest("SHA-256", join(bytes));
  return new Uint8Array(digest).toHex();
}

/** An unsigned LEB128 number, as WebAssembly's binary format writes them. */
export function unsigned(value: number): number[] {
  const out: number[] = [];
  do {
    const rest = Math.floor(value / 128);
    out.push(value % 128 | (rest > 0 ? 128 : 0));
    value = rest;
  } while (value > 0);
  return out;
}

/** A signed LEB128 number. */
export function signed(value: number): number[] {
  const out: number[] = [];
  for (;;) {
    const byte = value & 127;
    value >>= 7;
    const last = (value === 0 && (byte & 64) === 0) || (value === -1 && (byte & 64) !== 0);
    out.push(last ? byte : byte | 128);
    if (last) return out;
  }
}
