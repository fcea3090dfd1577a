/** @file A model's own chat template (Jinja), read from its tokenizer. */
import { UserError } from "../../dsl/errors.ts";

/** What a chat template needs of a tokenizer. */
export interface TemplateTokenizer {
  /** Id of the beginning token. */
  readonly bos?: number;
  /** Id of the end token. */
  readonly eos?: number;
  /** The model's template in Jinja. */
  readonly chatTemplate?: string;
  /** A token as the vocabulary spells it. */
  idToToken?(id: number): string | undefined;
}

/** One turn of a conversation. */
export interface Message {
  /** Such as `user` or `assistant`. */
  readonly role: string;
  /** What was said. */
  readonly content: string;
}

/** Turns as the model reads them; `answerNext` adds what it puts before an answer that is yet to come. */
export type RenderChat = (messages: readonly Message[], answerNext: boolean) => string;

/**
 * The renderer of a model's chat template.
 *
 * @param flag the flag that asked for it, named in the error
 * @throws {UserError} if the model has no chat template, or none that can be read
 */
export async function chatRenderer(tokenizer: TemplateTokenizer, flag: string): Promise<RenderChat> {
  const { chatTemplate, bos, eos } = tokenizer;
  if (chatTemplate === undefined) {
    throw new UserError(`${flag}: this model's folder has no chat template (tokenizer_config.json).`);
  }
  const { Template } = await import("npm:@huggingface/jinja@0.5.11");
  const spelled = (id?: number): string => id === undefined ? "" : tokenizer.idToToken?.(id) ?? "";
  const names = { bos_token: spelled(bos), eos_token: spelled(eos) };
  let template: InstanceType<typeof Template>;
  try {
    template = new Template(chatTemplate);
  } catch (error) {
    throw new UserError(`${flag}: the chat template cannot be read (${(error as Error).message}).`);
  }
  return (messages, answerNext) => {
    try {
      return template.render({ ...names, messages, add_generation_prompt: answerNext });
    } catch (error) {
      throw new UserError(`the model's chat template refuses it (${(error as Error).message}).`);
    }
  };
}
