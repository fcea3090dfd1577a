//! A dense Llama in burn, in the manner of its own examples: modules, burn's layers where it has them.

use burn::module::{Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, Linear, RmsNorm};
use burn::tensor::activation::silu;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::formula;
use crate::work::Config;

#[derive(Module, Debug)]
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
}

#[derive(Module, Debug)]
struct Ffn {
    gate: Linear,
    up: Linear,
    down: Linear,
}

#[derive(Module, Debug)]
struct Layer {
    input_norm: RmsNorm,
    attention: Attention,
    ffn_norm: RmsNorm,
    ffn: Ffn,
}

#[derive(Module, Debug)]
pub struct Llama {
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Linear,
}

/// Cosines and sines of the rotations, [seq, dim]: Hugging Face's order, where number i turns with number i + dim / 2.
#[derive(Debug, Clone)]
pub struct Rotations {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Rotations {
    pub fn new(config: &Config, length: usize, device: &Device) -> Self {
        let half = config.head_dim / 2;
        let angle = |position: usize, index: usize| {
            let frequency = config.rope_theta.powf(-2.0 * (index % half) as f64 / config.head_dim as f64);
            position as f64 * frequency
        };
        let table = |of: fn(f64) -> f64| {
            let values = (0..length * config.head_dim)
                .map(|at| of(angle(at / config.head_dim, at % config.head_dim)) as f32)
                .collect::<Vec<_>>();
            Tensor::from_data(TensorData::new(values, [length, config.head_dim]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    fn turn(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, _, dim] = x.dims();
        let (first, second) = (x.clone().narrow(3, 0, dim / 2), x.clone().narrow(3, dim / 2, dim / 2));
        let turned = Tensor::cat(vec![second.neg(), first], 3);
        x * self.cos.clone().unsqueeze() + turned * self.sin.clone().unsqueeze()
    }
}

impl Attention {
    fn forward(&self, x: Tensor<3>, rotations: &Rotations, config: &Config) -> Tensor<3> {
        let [batch, length, _] = x.dims();
        let heads = |y: Tensor<3>, count: usize| y.reshape([batch, length, count, config.head_dim]).swap_dims(1, 2);
        let q = rotations.turn(heads(self.q.forward(x.clone()), config.heads));
        let k = rotations.turn(heads(self.k.forward(x.clone()), config.kv_heads));
        let v = heads(self.v.forward(x), config.kv_heads);
        let options = AttentionModuleOptions { scale: None, softcap: None, is_causal: true };
        let out = attention(q, k, v, None, None, options);
        self.o.forward(out.swap_dims(1, 2).reshape([batch, length, config.heads * config.head_dim]))
    }
}

impl Layer {
    fn forward(&self, x: Tensor<3>, rotations: &Rotations, config: &Config) -> Tensor<3> {
        let x = x.clone() + self.attention.forward(self.input_norm.forward(x), rotations, config);
        let hidden = self.ffn_norm.forward(x.clone());
        x + self.ffn.down.forward(silu(self.ffn.gate.forward(hidden.clone())) * self.ffn.up.forward(hidden))
    }
}

impl Llama {
    /// A model with weights by formula.
    pub fn new(config: &Config, device: &Device) -> Self {
        let (width, inner) = (config.hidden_size, config.ffn_size);
        let matrix = |name: String, rows: usize, columns: usize| -> Tensor<2> {
            let values = formula::uniform(&name, rows * columns, formula::size_of(&name, config.layers));
            Tensor::from_data(TensorData::new(values, [rows, columns]), device)
        };
        // burn keeps a layer's weights the other way round than Hugging Face: [inputs, outputs].
        let linear = |name: String, outputs: usize, inputs: usize| Linear {
            weight: Param::from_tensor(Tensor::from_data(
                matrix(name, outputs, inputs).transpose().into_data(),
                device,
            )),
            bias: None,
        };
        let norm = || RmsNorm { gamma: Param::from_tensor(Tensor::ones([width], device)), epsilon: config.norm_eps };
        let layer = |index: usize| {
            let name = |rest: &str| format!("model.layers.{index}.{rest}_proj.weight");
            let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
            Layer {
                input_norm: norm(),
                attention: Attention {
                    q: linear(name("self_attn.q"), queries, width),
                    k: linear(name("self_attn.k"), keys, width),
                    v: linear(name("self_attn.v"), keys, width),
                    o: linear(name("self_attn.o"), width, queries),
                },
                ffn_norm: norm(),
                ffn: Ffn {
                    gate: linear(name("mlp.gate"), inner, width),
                    up: linear(name("mlp.up"), inner, width),
                    down: linear(name("mlp.down"), width, inner),
                },
            }
        };
        Self {
            embedding: Embedding {
                weight: Param::from_tensor(matrix("model.embed_tokens.weight".to_owned(), config.vocab_size, width)),
            },
            layers: (0..config.layers).map(layer).collect(),
            norm: norm(),
            head: linear("lm_head.weight".to_owned(), config.vocab_size, width),
        }
    }

    /// The mean loss of each token's successor; the last of a row has none.
    pub fn loss(&self, tokens: Tensor<2, Int>, rotations: &Rotations, config: &Config) -> Tensor<1> {
        let [batch, length] = tokens.dims();
        let mut x = self.embedding.forward(tokens.clone());
        for layer in &self.layers {
            x = layer.forward(x, rotations, config);
        }
        let logits = self.head.forward(self.norm.forward(x)).narrow(1, 0, length - 1);
        let count = batch * (length - 1);
        let labels = tokens.narrow(1, 1, length - 1).reshape([count]);
        CrossEntropyLossConfig::new().init(&labels.device()).forward(logits.reshape([count, config.vocab_size]), labels)
    }
}
