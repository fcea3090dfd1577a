/** @file The way of asking that a model was trained with: a small file in its folder, carried along by merges. */
import { join } from "node:path";
import { kindOf } from "../../convert/files.ts";
import { promptFile, readJson } from "../../convert/huggingface.ts";
import type { TemplateName } from "../../data/templates.ts";
import type { PromptStyle } from "./prompts.ts";

const styles: Readonly<Record<TemplateName, PromptStyle>> = { magicoder: "magicoder", model: "chat", none: "base" };

/** The file that says with which words around its examples a model was trained. */
export function promptRecord(template: TemplateName): Readonly<Record<string, string>> {
  return { [promptFile]: `${JSON.stringify({ template, prompt: styles[template] })}\n` };
}

/**
 * How a model is asked unless the user says otherwise: as it was trained; where no training was recorded, as evalplus
 * asks, by the chat template where there is one.
 */
export function trainedPrompt(folder: string, hasChatTemplate: boolean): PromptStyle {
  const path = join(folder, promptFile);
  if (kindOf(path) === "file") {
    const { prompt } = readJson(path) as { prompt?: unknown };
    const found = Object.values(styles).find((style) => style === prompt);
    if (found) return found;
  }
  return hasChatTemplate ? "chat" : "base";
}
