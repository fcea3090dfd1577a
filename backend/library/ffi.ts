/**
 * @file The native library's C functions: opening it, and turning its error numbers into errors. Only buffers and
 * integers cross the boundary, so that `--allow-ffi=PATH` is enough.
 */
import { UserError } from "../../dsl/errors.ts";
import { libraryPath } from "./library.ts";

/** Version of the functions and of the plans that this program speaks (`abi::VERSION` of the library). */
const version = 1;

/** Functions that every use of the library needs. */
const commonSymbols = {
  xft_version: { parameters: [], result: "u32" },
  xft_last_error: { parameters: ["i32", "buffer", "usize"], result: "usize" },
} as const;

/** Functions of devices, their memory and their plans. Those with an i32 give 0 or the number of an error. */
export const deviceSymbols = {
  xft_device_open: { parameters: ["buffer", "usize", "buffer"], result: "i32" },
  xft_adapters: { parameters: ["buffer", "usize"], result: "i64" },
  xft_device_info: { parameters: ["u64", "buffer", "usize"], result: "i64" },
  xft_device_close: { parameters: ["u64"], result: "i32" },
  xft_buffer_allocate: { parameters: ["u64", "u64", "buffer"], result: "i32" },
  xft_buffer_free: { parameters: ["u64", "u64"], result: "i32" },
  xft_buffer_write: { parameters: ["u64", "u64", "u64", "buffer", "usize"], result: "i32" },
  xft_buffer_read: { parameters: ["u64", "u64", "u64", "buffer", "usize"], result: "i32" },
  xft_plan_load: { parameters: ["u64", "buffer", "usize", "buffer"], result: "i32" },
  xft_plan_unload: { parameters: ["u64", "u64"], result: "i32" },
  xft_plan_run: { parameters: ["u64", "u64", "buffer", "usize", "buffer", "usize"], result: "i32", nonblocking: true },
  xft_device_cancel: { parameters: ["u64"], result: "i32" },
  xft_plan_profile: { parameters: ["u64", "u64", "buffer", "usize"], result: "i64" },
  xft_device_status: { parameters: ["u64", "buffer"], result: "i32" },
} as const;

/** The functions in a table of symbols, typed. */
export type Functions<Symbols extends Deno.ForeignLibraryInterface> = Deno.DynamicLibrary<Symbols>["symbols"];

let common: Functions<typeof commonSymbols> | undefined;

function open<Symbols extends Deno.ForeignLibraryInterface>(path: string, symbols: Symbols): Functions<Symbols> {
  try {
    return Deno.dlopen(path, symbols).symbols;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    throw new UserError(
      `${path}: this is not a library this program can load (${cause instanceof Error ? cause.message : cause})`,
      { cause },
    );
  }
}

/**
 * Opens the native library (found by {@linkcode libraryPath}) with a table of functions. The library stays loaded
 * until the process ends.
 *
 * @throws {UserError} if there is no library, it cannot be loaded, or it is of another version.
 */
export function openLibrary<const Symbols extends Deno.ForeignLibraryInterface>(symbols: Symbols): Functions<Symbols> {
  const path = libraryPath();
  if (!common) {
    const functions = open(path, commonSymbols);
    const found = functions.xft_version();
    if (found !== version) {
      throw new UserError(
        `${path}: the library speaks version ${found}, this program version ${version}. Build it again.`,
      );
    }
    common = functions;
  }
  return open(path, symbols);
}

/** The sentence behind the number of an error. */
function sentence(number: number): string {
  const functions = common;
  if (!functions) return `error ${number} of the native library`;
  let out = new Uint8Array(1024);
  let length = Number(functions.xft_last_error(number, out, BigInt(out.length)));
  if (length > out.length) {
    out = new Uint8Array(length);
    length = Number(functions.xft_last_error(number, out, BigInt(out.length)));
  }
  return length === 0 ? `error ${number} of the native library` : new TextDecoder().decode(out.subarray(0, length));
}

/**
 * Takes the code that a function of the library returned.
 *
 * @throws {Error} with the library's sentence, unless the code is 0. `as` makes the error.
 */
export function check(code: number, as: (message: string) => Error = (message) => new Error(message)): void {
  if (code !== 0) throw as(sentence(code));
}

/**
 * Calls a function that copies bytes out and returns their length: once more with enough room if they did not fit.
 *
 * @param call copies to its buffer what fits in its capacity (bytes); a negative length is the number of an error
 * @throws {Error} with the library's sentence. `as` makes the error.
 */
export function readBytes(
  call: (out: Uint8Array<ArrayBuffer>, capacity: bigint) => bigint,
  as: (message: string) => Error = (message) => new Error(message),
): Uint8Array<ArrayBuffer> {
  let out = new Uint8Array(1 << 14);
  for (;;) {
    const length = Number(call(out, BigInt(out.length)));
    if (length < 0) throw as(sentence(-length));
    if (length <= out.length) return out.slice(0, length);
    out = new Uint8Array(length);
  }
}
