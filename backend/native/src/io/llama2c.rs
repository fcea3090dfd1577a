//! Checkpoints of karpathy's llama2.c, version 0: seven integers, then every weight as f32 in a fixed order.

use serde_json::json;

use super::{Checkpoint, Dtype, Source, Tensor};
use crate::error::Result;

/// Bytes of the header.
const HEADER: usize = 28;

/// Sizes that the header gives.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    embed: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
    positions: usize,
    /// The vocabulary's size was negative: the classifier is a matrix of its own.
    untied: bool,
}

impl Header {
    /// The header, if the file's length is exactly what it asks for: the format has no other mark.
    pub fn parse(source: &Source) -> Option<Self> {
        let bytes = source.map.get(..HEADER)?;
        let field = |index: usize| {
            let (fields, _) = bytes.as_chunks::<4>();
            i32::from_le_bytes(fields[index])
        };
        let size = |value: i32| usize::try_from(value).ok().filter(|&value| value > 0);
        let header = Self {
            embed: size(field(0))?,
            hidden: size(field(1))?,
            layers: size(field(2))?,
            heads: size(field(3))?,
            kv_heads: size(field(4))?,
            vocab: size(field(5).checked_abs()?)?,
            positions: size(field(6))?,
            untied: field(5) < 0,
        };
        if !header.embed.is_multiple_of(header.heads)
            || !(header.embed / header.heads).is_multiple_of(2)
            || !header.heads.is_multiple_of(header.kv_heads)
            || header.layers > 10_000
        {
            return None;
        }
        let elements = header.parts().iter().try_fold(0usize, |sum, (_, layers, shape)| {
            let size = shape.iter().try_fold(*layers, |product, &size| product.checked_mul(size))?;
            sum.checked_add(size)
        })?;
        (elements.checked_mul(4)?.checked_add(HEADER)? == source.map.len()).then_some(header)
    }

    /// The weights in their order: name (with `N` for the layer), how many layers, shape of each.
    fn parts(&self) -> Vec<(&'static str, usize, Vec<usize>)> {
        let Self { embed, hidden, layers, vocab, .. } = *self;
        let head = embed / self.heads;
        let kv = head * self.kv_heads;
        let mut parts = vec![
            ("tok_embeddings.weight", 1, vec![vocab, embed]),
            ("layers.N.attention_norm.weight", layers, vec![embed]),
            ("layers.N.attention.wq.weight", layers, vec![embed, embed]),
            ("layers.N.attention.wk.weight", layers, vec![kv, embed]),
            ("layers.N.attention.wv.weight", layers, vec![kv, embed]),
            ("layers.N.attention.wo.weight", layers, vec![embed, embed]),
            ("layers.N.ffn_norm.weight", layers, vec![embed]),
            ("layers.N.feed_forward.w1.weight", layers, vec![hidden, embed]),
            ("layers.N.feed_forward.w2.weight", layers, vec![embed, hidden]),
            ("layers.N.feed_forward.w3.weight", layers, vec![hidden, embed]),
            ("norm.weight", 1, vec![embed]),
            // Tables of the rotary embedding that old versions wrote and nobody reads.
            ("rope.cos", 1, vec![self.positions, head / 2]),
            ("rope.sin", 1, vec![self.positions, head / 2]),
        ];
        if self.untied {
            parts.push(("output.weight", 1, vec![vocab, embed]));
        }
        parts
    }
}

/// Opens a file whose header fits.
pub fn open(source: Source, header: &Header) -> Result<Checkpoint> {
    let mut tensors = Vec::new();
    let mut offset = HEADER;
    for (name, layers, shape) in header.parts() {
        for layer in 0..layers {
            let name = name.replace('N', &layer.to_string());
            let tensor = Tensor::new(name, shape.clone(), Dtype::F32, 0, offset, &source)?;
            offset += tensor.bytes;
            tensors.push(tensor);
        }
    }
    let metadata = json!({
        "dim": header.embed,
        "hidden_dim": header.hidden,
        "n_layers": header.layers,
        "n_heads": header.heads,
        "n_kv_heads": header.kv_heads,
        "vocab_size": header.vocab,
        "seq_len": header.positions,
        "shared_classifier": !header.untied,
    });
    Checkpoint::new("llama2c", metadata, tensors, vec![source])
}
