//! C functions for tokenizers.
#![allow(clippy::missing_safety_doc, reason = "the contract is the parent module's, the same for all")]

use std::sync::Arc;

use tokenizers::Tokenizer;

use super::files::{numbers, numbers_mut};
use super::{Table, bytes, copy_out, guard, guard_length, put, text};
use crate::ensure;
use crate::io::tokenizer;

static TOKENIZERS: Table<Tokenizer> = Table::new("tokenizer");

/// What `xft_tokenizer_token_to_id` gives for a token that does not exist.
const NONE: u32 = u32::MAX;

/// Opens a tokenizer from the bytes of a tokenizer.json.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_tokenizer_open(json: *const u8, length: usize, out: *mut u64) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        let parsed = tokenizer::parse(unsafe { bytes(json, length) }?)?;
        let handle = TOKENIZERS.insert(Arc::new(parsed));
        // SAFETY: the caller's contract.
        unsafe { put(out, handle) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn xft_tokenizer_close(handle: u64) -> i32 {
    guard(|| TOKENIZERS.remove(handle).map(drop))
}

/// 1 + the highest id, added tokens included.
#[unsafe(no_mangle)]
pub extern "C" fn xft_tokenizer_size(handle: u64) -> i64 {
    guard_length(|| {
        let vocab = TOKENIZERS.get(handle)?.get_vocab(true);
        Ok(vocab.values().max().map_or(0, |&id| id as usize + 1))
    })
}

/// Encodes `count` texts that lie one after another in `data`, text i with `lengths[i]` bytes. `counts[i]` becomes
/// the number of its ids; the ids follow each other in `out` if all fit into `capacity`. Gives their number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_tokenizer_encode(
    handle: u64,
    data: *const u8,
    length: usize,
    lengths: *const u32,
    counts: *mut u32,
    count: usize,
    special: u8,
    out: *mut u32,
    capacity: usize,
) -> i64 {
    guard_length(|| {
        // SAFETY: the caller's contract.
        let (mut rest, lengths) = unsafe { (text(data, length)?, numbers(lengths, count)?) };
        // SAFETY: the caller's contract.
        let (counts, out) = unsafe { (numbers_mut(counts, count)?, numbers_mut(out, capacity)?) };
        let mut texts = Vec::with_capacity(count);
        for &bytes in lengths {
            let Some((text, after)) = rest.split_at_checked(bytes as usize) else {
                crate::fail!("a text's length does not end between two characters");
            };
            texts.push(text);
            rest = after;
        }
        ensure!(rest.is_empty(), "the texts' lengths do not add up");
        let tokenizer = TOKENIZERS.get(handle)?;
        let encoded = match texts[..] {
            [text] => vec![tokenizer::encode(&tokenizer, text, special != 0)?],
            _ => tokenizer::encode_batch(&tokenizer, texts, special != 0)?,
        };
        for (count, ids) in counts.iter_mut().zip(&encoded) {
            *count = u32::try_from(ids.len()).map_err(|_| "a text has too many tokens")?;
        }
        let total = encoded.iter().map(Vec::len).sum();
        if total <= capacity {
            for (place, id) in out.iter_mut().zip(encoded.iter().flatten()) {
                *place = *id;
            }
        }
        Ok(total)
    })
}

/// The text of ids, in UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_tokenizer_decode(
    handle: u64,
    ids: *const u32,
    count: usize,
    skip_special: u8,
    out: *mut u8,
    capacity: usize,
) -> i64 {
    guard_length(|| {
        // SAFETY: the caller's contract.
        let ids = unsafe { numbers(ids, count) }?;
        let text = tokenizer::decode(&*TOKENIZERS.get(handle)?, ids, skip_special != 0)?;
        // SAFETY: the caller's contract.
        unsafe { copy_out(text.as_bytes(), out, capacity) }
    })
}

/// The id of a token, as the vocabulary spells it; [`NONE`] if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_tokenizer_token_to_id(handle: u64, token: *const u8, length: usize, out: *mut u32) -> i32 {
    guard(|| {
        // SAFETY: the caller's contract.
        let token = unsafe { text(token, length) }?;
        let id = TOKENIZERS.get(handle)?.token_to_id(token).unwrap_or(NONE);
        // SAFETY: the caller's contract.
        unsafe { put(out, id) }
    })
}

/// A token as the vocabulary spells it; empty if the id has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_tokenizer_id_to_token(handle: u64, id: u32, out: *mut u8, capacity: usize) -> i64 {
    guard_length(|| {
        let token = TOKENIZERS.get(handle)?.id_to_token(id).unwrap_or_default();
        // SAFETY: the caller's contract.
        unsafe { copy_out(token.as_bytes(), out, capacity) }
    })
}
