//! The kernels of a plan.

use serde::Deserialize;

use super::instruction::{Instruction, Stage, StorageType};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lanes {
    Inner,
    Outer,
}

#[derive(Debug, Clone, Deserialize)]
pub struct LoopKernel {
    pub sizes: Vec<i64>,
    pub outer: usize,
    pub lanes: Lanes,
    pub body: Vec<Instruction>,
    pub stages: Vec<Stage>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct BatchAxis {
    pub size: i64,
    pub a: i64,
    pub b: i64,
    pub c: i64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct RowAxis {
    pub size: i64,
    pub a: i64,
    pub c: i64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct ColumnAxis {
    pub size: i64,
    pub b: i64,
    pub c: i64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct DepthAxis {
    pub size: i64,
    pub a: i64,
    pub b: i64,
}

/// A position axis of [`GroupedIntoKernel`].
pub type IntoAxis = DepthAxis;

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct ScatterAxis {
    pub size: i64,
    pub b: i64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct TopkAxis {
    pub size: i64,
    pub a: i64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct TopkSlots {
    pub size: i64,
    pub c: i64,
}

/// Where operands start, in elements. An operand that the kernel lacks is 0.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Offsets {
    #[serde(default)]
    pub a: i64,
    #[serde(default)]
    pub b: i64,
    #[serde(default)]
    pub c: i64,
}

/// How the operands of a product are stored: 16 bits wide, or else as f32.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct OperandTypes {
    #[serde(default)]
    pub a: Option<StorageType>,
    #[serde(default)]
    pub b: Option<StorageType>,
}

impl OperandTypes {
    pub fn storage(self) -> [StorageType; 2] {
        [self.a, self.b].map(|dtype| dtype.unwrap_or(StorageType::F32))
    }
}

/// A loop over the rows of a product, which it works on while they are in the cache.
#[derive(Debug, Clone, Deserialize)]
pub struct Then {
    #[serde(rename = "loop")]
    pub body: LoopKernel,
    /// How many of the loop's first axes are the product's rows: batch and m, or the positions.
    pub axes: usize,
    /// Which of the loop's slots is the product.
    pub slot: usize,
    /// Does the product lie in memory? Otherwise its slot is the loop's last one and has no buffer: its rows lie one
    /// after the other.
    pub stored: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ContractKernel {
    pub batch: Vec<BatchAxis>,
    pub m: RowAxis,
    pub n: ColumnAxis,
    pub k: Vec<DepthAxis>,
    pub offsets: Offsets,
    /// Adds to what is in c.
    #[serde(default)]
    pub accumulate: bool,
    #[serde(default)]
    pub types: OperandTypes,
    #[serde(default)]
    pub then: Option<Box<Then>>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct OrderKernel {
    pub groups: i64,
    pub positions: i64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct GroupedKernel {
    pub groups: i64,
    pub positions: Vec<RowAxis>,
    pub k: DepthAxis,
    pub n: ColumnAxis,
    pub group: i64,
    pub offsets: Offsets,
    #[serde(default)]
    pub types: OperandTypes,
    #[serde(default)]
    pub then: Option<Box<Then>>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct GroupedIntoKernel {
    pub groups: i64,
    pub positions: Vec<IntoAxis>,
    pub m: RowAxis,
    pub n: ColumnAxis,
    pub group: i64,
    pub offsets: Offsets,
    #[serde(default)]
    pub types: OperandTypes,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ScatterKernel {
    pub groups: i64,
    pub positions: Vec<ScatterAxis>,
    pub columns: Vec<ColumnAxis>,
    pub group: i64,
    pub offsets: Offsets,
}

#[derive(Debug, Clone, Deserialize)]
pub struct TopkKernel {
    pub rows: Vec<RowAxis>,
    pub axis: TopkAxis,
    pub slots: TopkSlots,
    pub offsets: Offsets,
}

#[derive(Debug, Clone, Deserialize)]
pub struct CopyKernel {
    pub words: i64,
}

/// A compute shader with entry point `main`; `status`: the status word is bound after the last buffer.
#[derive(Debug, Clone, Deserialize)]
pub struct WgslKernel {
    pub code: String,
    pub workgroups: [u32; 3],
    pub status: bool,
    /// Scalar operations, roughly.
    #[serde(default)]
    pub work: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Kernel {
    Loop(LoopKernel),
    Contract(ContractKernel),
    Order(OrderKernel),
    Grouped(GroupedKernel),
    GroupedInto(GroupedIntoKernel),
    Scatter(ScatterKernel),
    Topk(TopkKernel),
    Copy(CopyKernel),
    Wgsl(WgslKernel),
}
