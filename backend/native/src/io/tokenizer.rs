//! The models' own tokenizers, through the `tokenizers` crate.

use tokenizers::Tokenizer;

use crate::error::{Error, Result};

/// Reads a tokenizer.json.
pub fn parse(json: &[u8]) -> Result<Tokenizer> {
    let mut tokenizer =
        Tokenizer::from_bytes(json).map_err(|error| Error(format!("the tokenizer is not valid: {error}.")))?;
    // Files often carry the settings of their makers' last batch; lengths are the caller's business.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| Error(error.to_string()))?;
    Ok(tokenizer)
}

/// Ids of a text; `special` adds what the tokenizer puts around every text (BOS, EOS).
pub fn encode(tokenizer: &Tokenizer, text: &str, special: bool) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode_fast(text, special).map_err(|error| Error(format!("cannot encode: {error}")))?;
    Ok(encoding.get_ids().to_vec())
}

/// Ids of many texts, with all threads.
pub fn encode_batch(tokenizer: &Tokenizer, texts: Vec<&str>, special: bool) -> Result<Vec<Vec<u32>>> {
    let encodings =
        tokenizer.encode_batch_fast(texts, special).map_err(|error| Error(format!("cannot encode: {error}")))?;
    Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
}

/// Text of ids; `skip_special` leaves special tokens out.
pub fn decode(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> Result<String> {
    tokenizer.decode(ids, skip_special).map_err(|error| Error(format!("cannot decode: {error}")))
}
