//! Instructions, accesses and stages of a loop kernel.

use serde::Deserialize;

/// Type of a value in a register. A bool is 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegisterType {
    F32,
    I32,
    U32,
    Bool,
}

/// Type of an element in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageType {
    F32,
    F16,
    Bf16,
    I32,
    U32,
    Bool,
}

impl StorageType {
    pub fn bytes(self) -> u64 {
        match self {
            Self::F16 | Self::Bf16 => 2,
            _ => 4,
        }
    }

    /// The type of a register that holds such an element.
    pub fn register(self) -> RegisterType {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => RegisterType::F32,
            Self::I32 => RegisterType::I32,
            Self::U32 => RegisterType::U32,
            Self::Bool => RegisterType::Bool,
        }
    }
}

/// `offset + Σ strides[axis] · index[axis]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Affine {
    pub offset: i64,
    pub strides: Vec<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Guard {
    #[serde(flatten)]
    pub affine: Affine,
    pub size: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub struct Gather {
    pub register: usize,
    pub stride: i64,
    pub size: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Access {
    #[serde(flatten)]
    pub affine: Affine,
    pub slot: usize,
    pub dtype: StorageType,
    #[serde(default)]
    pub guards: Vec<Guard>,
    #[serde(default)]
    pub gather: Option<Gather>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unary {
    Neg,
    Abs,
    Exp,
    Log,
    Recip,
    Sqrt,
    Sin,
    Cos,
    Tanh,
    Floor,
    Not,
    RoundF16,
    RoundBf16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Max,
    Min,
    Less,
    Equal,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reduction {
    Sum,
    Max,
    Min,
}

/// One SSA instruction. `kind` is the type of its result (of a store: of what it stores).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Record")]
pub enum Instruction {
    Load { kind: RegisterType, access: Access },
    Index { index: Affine },
    Const { kind: RegisterType, bits: u32 },
    Unary { op: Unary, kind: RegisterType, a: usize },
    Binary { op: Binary, kind: RegisterType, a: usize, b: usize },
    Select { kind: RegisterType, c: usize, a: usize, b: usize },
    Cast { kind: RegisterType, a: usize },
    Reduce { kind: RegisterType, by: Reduction, a: usize },
    Store { kind: RegisterType, access: Access, a: usize },
}

impl Instruction {
    pub fn kind(&self) -> RegisterType {
        match self {
            Self::Index { .. } => RegisterType::I32,
            Self::Load { kind, .. }
            | Self::Const { kind, .. }
            | Self::Unary { kind, .. }
            | Self::Binary { kind, .. }
            | Self::Select { kind, .. }
            | Self::Cast { kind, .. }
            | Self::Reduce { kind, .. }
            | Self::Store { kind, .. } => *kind,
        }
    }

    /// The memory it touches.
    pub fn access(&self) -> Option<&Access> {
        match self {
            Self::Load { access, .. } | Self::Store { access, .. } => Some(access),
            _ => None,
        }
    }

    /// The registers it reads, a gather's index included.
    pub fn operands(&self) -> impl Iterator<Item = usize> {
        let operands = match *self {
            Self::Load { .. } | Self::Index { .. } | Self::Const { .. } => [None; 3],
            Self::Unary { a, .. } | Self::Cast { a, .. } | Self::Reduce { a, .. } | Self::Store { a, .. } => {
                [Some(a), None, None]
            }
            Self::Binary { a, b, .. } => [Some(a), Some(b), None],
            Self::Select { c, a, b, .. } => [Some(c), Some(a), Some(b)],
        };
        let gather = self.access().and_then(|access| access.gather).map(|gather| gather.register);
        operands.into_iter().flatten().chain(gather)
    }
}

/// An instruction as it stands in JSON.
#[derive(Deserialize)]
struct Record {
    op: String,
    #[serde(rename = "type")]
    kind: RegisterType,
    access: Option<Access>,
    index: Option<Affine>,
    bits: Option<u32>,
    by: Option<Reduction>,
    a: Option<usize>,
    b: Option<usize>,
    c: Option<usize>,
}

fn unary(op: &str) -> Option<Unary> {
    Some(match op {
        "neg" => Unary::Neg,
        "abs" => Unary::Abs,
        "exp" => Unary::Exp,
        "log" => Unary::Log,
        "recip" => Unary::Recip,
        "sqrt" => Unary::Sqrt,
        "sin" => Unary::Sin,
        "cos" => Unary::Cos,
        "tanh" => Unary::Tanh,
        "floor" => Unary::Floor,
        "not" => Unary::Not,
        "roundF16" => Unary::RoundF16,
        "roundBf16" => Unary::RoundBf16,
        _ => return None,
    })
}

fn binary(op: &str) -> Option<Binary> {
    Some(match op {
        "add" => Binary::Add,
        "sub" => Binary::Sub,
        "mul" => Binary::Mul,
        "max" => Binary::Max,
        "min" => Binary::Min,
        "less" => Binary::Less,
        "equal" => Binary::Equal,
        "and" => Binary::And,
        "or" => Binary::Or,
        "xor" => Binary::Xor,
        "shl" => Binary::Shl,
        "shr" => Binary::Shr,
        _ => return None,
    })
}

impl TryFrom<Record> for Instruction {
    type Error = String;

    fn try_from(record: Record) -> Result<Self, String> {
        let Record { op, kind, access, index, bits, by, a, b, c } = record;
        let missing = |field: &str| format!("instruction \"{op}\" has no {field}");
        let operand = |value: Option<usize>, field| value.ok_or_else(|| missing(field));
        match op.as_str() {
            "load" => Ok(Self::Load { kind, access: access.ok_or_else(|| missing("access"))? }),
            "index" if kind == RegisterType::I32 => Ok(Self::Index { index: index.ok_or_else(|| missing("index"))? }),
            "index" => Err("instruction \"index\" is not i32".to_owned()),
            "const" => Ok(Self::Const { kind, bits: bits.ok_or_else(|| missing("bits"))? }),
            "select" => Ok(Self::Select { kind, c: operand(c, "c")?, a: operand(a, "a")?, b: operand(b, "b")? }),
            "cast" => Ok(Self::Cast { kind, a: operand(a, "a")? }),
            "reduce" => Ok(Self::Reduce { kind, by: by.ok_or_else(|| missing("by"))?, a: operand(a, "a")? }),
            "store" => Ok(Self::Store { kind, access: access.ok_or_else(|| missing("access"))?, a: operand(a, "a")? }),
            name => {
                if let Some(op) = unary(name) {
                    Ok(Self::Unary { op, kind, a: operand(a, "a")? })
                } else if let Some(op) = binary(name) {
                    Ok(Self::Binary { op, kind, a: operand(a, "a")?, b: operand(b, "b")? })
                } else {
                    Err(format!("unknown instruction \"{name}\""))
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Outer,
    Inner,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Stage {
    pub level: Level,
    pub registers: Vec<usize>,
}
