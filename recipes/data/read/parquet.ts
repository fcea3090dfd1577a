/** @file Rows of a Parquet file as records, one group of rows in memory at a time. */
import { UserError } from "../../../dsl/errors.ts";
import { openFile } from "./bytes.ts";
import type { DataRecord } from "./records.ts";

/** The rows of a Parquet file, with any of the format's compressions. @throws {UserError} if the file is damaged */
export async function* parquetRows(path: string): AsyncGenerator<DataRecord> {
  // Loaded here: few runs read Parquet.
  const { parquetMetadataAsync, parquetReadObjects } = await import("npm:hyparquet@1.31.5");
  const { compressors } = await import("npm:hyparquet-compressors@1.1.2");
  using handle = openFile(path);
  const byteLength = handle.statSync().size;
  const file = { byteLength, slice: (start: number, end = byteLength) => readRange(handle, start, end) };
  let first = 0;
  try {
    const metadata = await parquetMetadataAsync(file);
    for (const { num_rows } of metadata.row_groups) {
      const end = first + Number(num_rows);
      const rows = await parquetReadObjects({ file, metadata, compressors, rowStart: first, rowEnd: end });
      for (const [index, row] of rows.entries()) {
        yield { where: `${path}, row ${first + index + 1}`, read: () => row };
      }
      first = end;
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${path}: this Parquet file cannot be read (${(error as Error).message}).`, { cause: error });
  }
}

function readRange(file: Deno.FsFile, start: number, end: number): ArrayBuffer {
  const bytes = new Uint8Array(end - start);
  file.seekSync(start, Deno.SeekMode.Start);
  for (let at = 0, count; at < bytes.length; at += count) {
    count = file.readSync(bytes.subarray(at)) ?? 0;
    if (count === 0) throw new Error("the file ends too early");
  }
  return bytes.buffer;
}
