//! A loop kernel's definition, one element after the other: what tapes are tested against.

use crate::plan::{Access, Affine, Binary, Instruction, Level, LoopKernel, Reduction, RegisterType, Unary};

const F32: RegisterType = RegisterType::F32;
const I32: RegisterType = RegisterType::I32;

fn affine(line: &Affine, index: &[i64]) -> i64 {
    line.offset + line.strides.iter().zip(index).map(|(stride, index)| stride * index).sum::<i64>()
}

/// Where an access lies, if anywhere; the flag says that an index was out of range.
fn locate(access: &Access, index: &[i64], registers: &[u32], wrong: &mut bool) -> Option<usize> {
    for guard in &access.guards {
        if !(0..guard.size).contains(&affine(&guard.affine, index)) {
            return None;
        }
    }
    let mut place = affine(&access.affine, index);
    if let Some(gather) = access.gather {
        let value = i64::from(registers[gather.register] as i32);
        if !(0..gather.size).contains(&value) {
            *wrong |= value != -1;
            return None;
        }
        place += value * gather.stride;
    }
    Some(usize::try_from(place).unwrap())
}

pub fn float(bits: u32) -> f32 {
    f32::from_bits(bits)
}

fn binary(op: Binary, kind: RegisterType, a: u32, b: u32) -> u32 {
    let (x, y) = (float(a), float(b));
    let (i, j) = (a as i32, b as i32);
    match (op, kind) {
        (Binary::Add, F32) => (x + y).to_bits(),
        (Binary::Sub, F32) => (x - y).to_bits(),
        (Binary::Mul, F32) => (x * y).to_bits(),
        (Binary::Max, F32) => {
            if x.is_nan() || y.is_nan() {
                f32::NAN.to_bits()
            } else {
                x.max(y).to_bits()
            }
        }
        (Binary::Min, F32) => {
            if x.is_nan() || y.is_nan() {
                f32::NAN.to_bits()
            } else {
                x.min(y).to_bits()
            }
        }
        (Binary::Less, F32) => u32::from(x < y),
        (Binary::Equal, F32) => u32::from(x == y),
        (Binary::Less, I32) => u32::from(i < j),
        (Binary::Max, I32) => i.max(j) as u32,
        (Binary::Min, I32) => i.min(j) as u32,
        (Binary::Less, _) => u32::from(a < b),
        (Binary::Max, _) => a.max(b),
        (Binary::Min, _) => a.min(b),
        (Binary::Equal, _) => u32::from(a == b),
        (Binary::Add, _) => a.wrapping_add(b),
        (Binary::Sub, _) => a.wrapping_sub(b),
        (Binary::Mul, _) => a.wrapping_mul(b),
        (Binary::And, _) => a & b,
        (Binary::Or, _) => a | b,
        (Binary::Xor, _) => a ^ b,
        (Binary::Shl, _) => a << (b & 31),
        (Binary::Shr, _) => a >> (b & 31),
    }
}

fn cast(from: RegisterType, to: RegisterType, a: u32) -> u32 {
    match (from, to) {
        (F32, I32) => float(a) as i32 as u32,
        (F32, RegisterType::U32) => float(a) as u32,
        (F32, RegisterType::Bool) => u32::from(float(a) != 0.0),
        (I32, F32) => (a as i32 as f32).to_bits(),
        (RegisterType::U32 | RegisterType::Bool, F32) => (a as f32).to_bits(),
        (_, RegisterType::Bool) => u32::from(a != 0),
        _ => a,
    }
}

/// Runs the kernel's definition; true if an index was out of range.
pub fn evaluate(kernel: &LoopKernel, slots: &mut [Vec<u32>]) -> bool {
    let indices = |axes: &[i64]| -> Vec<Vec<i64>> {
        axes.iter().fold(vec![vec![]], |all, &size| {
            all.iter().flat_map(|index| (0..size).map(move |i| [&index[..], &[i]].concat())).collect()
        })
    };
    let mut wrong = false;
    let mut registers: Vec<u32> = vec![0; kernel.body.len()];
    for (register, instruction) in kernel.body.iter().enumerate() {
        if let Instruction::Const { bits, .. } = instruction {
            registers[register] = *bits;
        }
    }
    for outer in indices(&kernel.sizes[..kernel.outer]) {
        for stage in &kernel.stages {
            let inner = match stage.level {
                Level::Outer => vec![vec![0; kernel.sizes.len() - kernel.outer]],
                Level::Inner => indices(&kernel.sizes[kernel.outer..]),
            };
            let mut sums: Vec<Option<u32>> = vec![None; kernel.body.len()];
            for inner in inner {
                let index = [&outer[..], &inner[..]].concat();
                for &register in &stage.registers {
                    let kind = kernel.body[register].kind();
                    let value = match &kernel.body[register] {
                        Instruction::Load { access, .. } => {
                            locate(access, &index, &registers, &mut wrong).map_or(0, |at| slots[access.slot][at])
                        }
                        Instruction::Store { access, a, .. } => {
                            if let Some(at) = locate(access, &index, &registers, &mut wrong) {
                                slots[access.slot][at] = registers[*a];
                            }
                            continue;
                        }
                        Instruction::Index { index: line } => affine(line, &index) as i32 as u32,
                        Instruction::Const { bits, .. } => *bits,
                        Instruction::Unary { op, a, .. } => match op {
                            Unary::Neg if kind == F32 => (-float(registers[*a])).to_bits(),
                            Unary::Neg => registers[*a].wrapping_neg(),
                            Unary::Abs if kind == F32 => float(registers[*a]).abs().to_bits(),
                            Unary::Floor => float(registers[*a]).floor().to_bits(),
                            Unary::RoundF16 => half::f16::from_f32(float(registers[*a])).to_f32().to_bits(),
                            Unary::RoundBf16 => half::bf16::from_f32(float(registers[*a])).to_f32().to_bits(),
                            Unary::Not if kind == RegisterType::Bool => registers[*a] ^ 1,
                            _ => panic!("not generated"),
                        },
                        Instruction::Binary { op, a, b, .. } => {
                            binary(*op, kernel.body[*a].kind(), registers[*a], registers[*b])
                        }
                        Instruction::Select { c, a, b, .. } => {
                            if registers[*c] != 0 {
                                registers[*a]
                            } else {
                                registers[*b]
                            }
                        }
                        Instruction::Cast { a, .. } => cast(kernel.body[*a].kind(), kind, registers[*a]),
                        Instruction::Reduce { by, a, .. } => {
                            let op = match by {
                                Reduction::Sum => Binary::Add,
                                Reduction::Max => Binary::Max,
                                Reduction::Min => Binary::Min,
                            };
                            let old = sums[register];
                            sums[register] =
                                Some(old.map_or(registers[*a], |old| binary(op, kind, old, registers[*a])));
                            continue;
                        }
                    };
                    registers[register] = value;
                }
            }
            for &register in &stage.registers {
                if let Instruction::Reduce { by, kind, .. } = kernel.body[register] {
                    let empty = match (by, kind) {
                        (Reduction::Sum, _) => 0,
                        (Reduction::Max, F32) => f32::NEG_INFINITY.to_bits(),
                        (Reduction::Min, F32) => f32::INFINITY.to_bits(),
                        (Reduction::Max, _) => i32::MIN as u32,
                        (Reduction::Min, _) => i32::MAX as u32,
                    };
                    registers[register] = sums[register].unwrap_or(empty);
                }
            }
        }
    }
    wrong
}
