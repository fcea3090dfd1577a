/** @file Refusals in the form of OpenAI's API. */

/** A request that is refused. */
export class Refusal extends Error {
  override readonly name: string = "Refusal";
  /** HTTP status, the sentence, and the field at fault. */
  constructor(readonly status: number, message: string, readonly param: string | null = null) {
    super(message);
  }
}

/** Its JSON body. */
export const errorBody = ({ status, message, param }: Refusal): object => ({
  error: {
    message,
    type: status >= 500 ? "server_error" : "invalid_request_error",
    param,
    code: status === 404 ? "model_not_found" : null,
  },
});
