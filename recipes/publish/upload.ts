/**
 * @file Uploads files to the hub by its own library: large ones to its storage, in pieces, then all of them in one
 * commit. What has arrived is not sent again.
 */
import { UserError } from "../../dsl/errors.ts";
import type { HubSettings } from "../hub/address.ts";
import type { PublishedFile } from "./contents.ts";

/** Where to, and how. */
export interface UploadOptions {
  /** `org/name`; made if there is none. */
  readonly repo: string;
  /** Branch to commit to (default main). */
  readonly branch?: string;
  /** Whether a repository that is made is private. */
  readonly isPrivate?: boolean;
  /** The commit's subject. */
  readonly message: string;
  /** Ends it; files that have arrived stay at the hub for the next time. */
  readonly signal?: AbortSignal;
  /** Called with the bytes that have arrived. */
  readonly progress?: (done: number, total: number, file: string) => void;
}

const AGAIN = "the same command goes on: what has arrived is not sent again.";

const library = () => import("npm:@huggingface/hub@2.17.5");

/**
 * Uploads files in one commit, to a repository that is made if there is none.
 *
 * @param settings where the hub is, and whose token
 * @returns the commit
 * @throws {UserError} if the token is missing or may not write there, or the hub refuses something
 */
export async function upload(
  files: readonly PublishedFile[],
  settings: Pick<HubSettings, "endpoint" | "token" | "offline">,
  { repo, branch = "main", isPrivate = false, message, signal, progress }: UploadOptions,
): Promise<string> {
  const { endpoint: hubUrl, token: accessToken, offline } = settings;
  if (offline) throw new UserError(`hf:${repo}: HF_HUB_OFFLINE says not to ask the hub; unset it to publish.`);
  if (!accessToken?.startsWith("hf_")) {
    throw new UserError(
      `hf:${repo}: set HF_TOKEN to a token (hf_…) of somebody who may write there, or log in (hf auth login).`,
    );
  }
  const hub = await library();
  const explained = (error: unknown): unknown => {
    signal?.throwIfAborted();
    if (error instanceof hub.HubApiError) {
      const { statusCode } = error;
      if (statusCode === 401 || statusCode === 403) {
        return new UserError(`hf:${repo}: the token's owner may not write there.`);
      }
      const isBusy = statusCode === 429 || statusCode >= 500;
      return new UserError(
        isBusy
          ? `hf:${repo}: the hub answered ${statusCode}; ${AGAIN}`
          : `hf:${repo}: the hub refused: ${error.message}.`,
      );
    }
    if (error instanceof TypeError) {
      return new UserError(`hf:${repo}: the connection to ${hubUrl} broke (${error.message}); ${AGAIN}`);
    }
    return error;
  };
  try {
    const visibility = isPrivate ? "private" : undefined;
    await hub.createRepo({ repo, accessToken, hubUrl, ...(visibility && { visibility }) }).catch((error: unknown) => {
      // It is there already.
      if (!(error instanceof hub.HubApiError && error.statusCode === 409)) throw error;
    });
    const sizes = new Map(files.map(({ path, bytes }) => [path, bytes])), arrived = new Map<string, number>();
    const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    const events = hub.uploadFilesWithProgress({
      ...{ repo, branch, accessToken, hubUrl },
      files: files.map(({ path, content }) => ({
        path,
        content: typeof content === "string" ? new Blob([content]) : content,
      })),
      commitTitle: message,
      ...(signal && { abortSignal: signal }),
      // Plain storage: the hub's chunked one needs a second protocol, and saves nothing where weights are all new.
      useXet: false,
    });
    for (;;) {
      const { done, value } = await events.next();
      if (done) {
        if (value === undefined) throw new Error("the hub's library ended without a commit");
        return value.commit.oid;
      }
      if (value.event !== "fileProgress" || value.state !== "uploading") continue;
      arrived.set(value.path, value.progress * (sizes.get(value.path) ?? 0));
      progress?.(arrived.values().reduce((sum, bytes) => sum + bytes, 0), total, value.path);
    }
  } catch (error) {
    throw explained(error);
  }
}

/**
 * The licence that a model's card names on the hub.
 *
 * @returns nothing where there is no such model, or its card says none
 */
export async function licenseOnHub(
  name: string,
  { endpoint: hubUrl, token, offline }: Pick<HubSettings, "endpoint" | "token" | "offline">,
): Promise<string | undefined> {
  if (offline) return undefined;
  const hub = await library();
  try {
    const info = await hub.modelInfo({
      ...{ name, hubUrl, additionalFields: ["cardData"] },
      ...(token?.startsWith("hf_") && { accessToken: token }),
    });
    const license = info.cardData?.license;
    return typeof license === "string" ? license : license?.[0];
  } catch (error) {
    if (error instanceof hub.HubApiError || error instanceof TypeError) return undefined;
    throw error;
  }
}
