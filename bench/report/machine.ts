/** @file The machine that figures were taken on. */

/** What stands beside every figure. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly system: string;
  readonly deno: string;
  /** Vector instructions that decide how fast products are. */
  readonly vectors: string;
}

/** This machine. */
export function machine(): Machine {
  const text = (() => {
    try {
      return Deno.readTextFileSync("/proc/cpuinfo");
    } catch {
      return "";
    }
  })();
  const flags = new Set(/^flags\s*: (.*)$/m.exec(text)?.[1].split(" ") ?? []);
  const known = ["avx512_bf16", "avx512f", "avx2", "avx"].find((flag) => flags.has(flag));
  const family = /^cpu family\s*: (.*)$/m.exec(text)?.[1], model = /^model\s*: (.*)$/m.exec(text)?.[1];
  const name = /^model name\s*: (.*)$/m.exec(text)?.[1] ?? Deno.build.arch;
  return {
    processor: family ? `${name} (family ${family}, model ${model})` : name,
    cores: navigator.hardwareConcurrency,
    memoryBytes: Deno.systemMemoryInfo().total,
    system: Deno.build.target,
    deno: Deno.version.deno,
    vectors: known ?? "unknown",
  };
}
