//! From a loop kernel to a tape: types resolved, axes joined, registers placed in few scratch blocks.

use std::ops::Range;

use super::pattern::Pattern;
use super::walk::{Line, Walk, collapse};
use super::{Accumulator, Code, LANES, Op, Tape, TapeAccess, TapeGather, TapeIndex, TapeStage};
use crate::plan::{
    Access, Affine, Binary, Instruction, Lanes, Level, LoopKernel, Reduction, RegisterType, Stage, StorageType, Unary,
};

fn unary(op: Unary, kind: RegisterType) -> Code {
    let float = kind == RegisterType::F32;
    match op {
        Unary::Neg => {
            if float {
                Code::NegF
            } else {
                Code::NegI
            }
        }
        Unary::Abs => match kind {
            RegisterType::F32 => Code::AbsF,
            RegisterType::I32 => Code::AbsI,
            _ => Code::Copy,
        },
        Unary::Exp => Code::Exp,
        Unary::Log => Code::Log,
        Unary::Recip => Code::Recip,
        Unary::Sqrt => Code::Sqrt,
        Unary::Sin => Code::Sin,
        Unary::Cos => Code::Cos,
        Unary::Tanh => Code::Tanh,
        Unary::Floor => Code::Floor,
        Unary::RoundF16 => Code::RoundF16,
        Unary::RoundBf16 => Code::RoundBf16,
        Unary::Not => {
            if kind == RegisterType::Bool {
                Code::NotBool
            } else {
                Code::NotI
            }
        }
    }
}

/// `kind`: the operands' type.
fn binary(op: Binary, kind: RegisterType) -> Code {
    let pick = |float, int, unsigned| match kind {
        RegisterType::F32 => float,
        RegisterType::I32 => int,
        RegisterType::U32 | RegisterType::Bool => unsigned,
    };
    match op {
        Binary::Add => pick(Code::AddF, Code::AddI, Code::AddI),
        Binary::Sub => pick(Code::SubF, Code::SubI, Code::SubI),
        Binary::Mul => pick(Code::MulF, Code::MulI, Code::MulI),
        Binary::Max => pick(Code::MaxF, Code::MaxI, Code::MaxU),
        Binary::Min => pick(Code::MinF, Code::MinI, Code::MinU),
        Binary::Less => pick(Code::LessF, Code::LessI, Code::LessU),
        Binary::Equal => pick(Code::EqualF, Code::EqualI, Code::EqualI),
        Binary::And => Code::And,
        Binary::Or => Code::Or,
        Binary::Xor => Code::Xor,
        Binary::Shl => Code::Shl,
        Binary::Shr => Code::Shr,
    }
}

fn cast(from: RegisterType, to: RegisterType) -> Code {
    use RegisterType::{Bool, F32, I32, U32};
    match (from, to) {
        (F32, I32) => Code::FloatToInt,
        (F32, U32) => Code::FloatToUnsigned,
        (F32, Bool) => Code::FloatToBool,
        (I32, F32) => Code::IntToFloat,
        (U32 | Bool, F32) => Code::UnsignedToFloat,
        (I32 | U32, Bool) => Code::IntToBool,
        _ => Code::Copy,
    }
}

fn reduction(by: Reduction, kind: RegisterType) -> Code {
    match (by, kind) {
        (Reduction::Sum, RegisterType::F32) => Code::SumF,
        (Reduction::Sum, _) => Code::SumI,
        (Reduction::Max, RegisterType::F32) => Code::HighF,
        (Reduction::Max, RegisterType::I32) => Code::HighI,
        (Reduction::Max, _) => Code::HighU,
        (Reduction::Min, RegisterType::F32) => Code::LowF,
        (Reduction::Min, RegisterType::I32) => Code::LowI,
        (Reduction::Min, _) => Code::LowU,
    }
}

/// Which registers are the same for all lanes that differ in the last of the axes `lanes` only. `rows`: is a row's
/// register one value for all of them?
fn uniform(kernel: &LoopKernel, lanes: &Range<usize>, rows: bool) -> Vec<bool> {
    let last = lanes.clone().rev().find(|&axis| kernel.sizes[axis] != 1);
    let even = |affine: &Affine| last.is_none_or(|axis| affine.strides[axis] == 0);
    let mut outer = vec![false; kernel.body.len()];
    for stage in kernel.stages.iter().filter(|stage| stage.level == Level::Outer) {
        for &register in &stage.registers {
            outer[register] = true;
        }
    }
    let mut uniform: Vec<bool> = Vec::with_capacity(kernel.body.len());
    for (number, instruction) in kernel.body.iter().enumerate() {
        let reduced = matches!(instruction, Instruction::Reduce { .. });
        let own = match instruction {
            Instruction::Index { index } => even(index),
            Instruction::Load { access, .. } => {
                even(&access.affine) && access.guards.iter().all(|guard| even(&guard.affine))
            }
            _ => true,
        };
        let operands = instruction.operands().all(|operand| uniform[operand]);
        uniform.push(rows && (outer[number] || reduced) || own && operands);
    }
    uniform
}

/// Places registers in blocks.
struct Blocks {
    /// Block of each register that has one now.
    of: Vec<Option<u16>>,
    free: Vec<u16>,
    /// Those that loads alone use, to be read where they lie in memory.
    free_direct: Vec<u16>,
    count: usize,
}

impl Blocks {
    fn take_direct(&mut self) -> u16 {
        self.free_direct.pop().unwrap_or_else(|| self.fresh())
    }

    fn fresh(&mut self) -> u16 {
        self.count += 1;
        // At most one block per instruction, and `plan` allows 2¹⁴ of them.
        (self.count - 1) as u16
    }

    fn take(&mut self) -> u16 {
        self.free.pop().unwrap_or_else(|| self.fresh())
    }
}

struct Compiler<'a> {
    kernel: &'a LoopKernel,
    sizes: Vec<usize>,
    /// Registers that are the same along a run: (in outer stages, in inner stages).
    uniform: (Vec<bool>, Vec<bool>),
    tape: Tape,
    blocks: Blocks,
    /// Level of the stage at work.
    level: Level,
    /// Registers of outer stages, and reductions.
    row_register: Vec<bool>,
    /// Registers that a later inner stage needs again: their lanes are kept for a whole batch of rows.
    wide: Vec<bool>,
    /// Per register, the block in which its rows' values are spread over their lanes.
    spread: Vec<Option<u16>>,
    /// Those that the stage at work uses.
    expanded: Vec<(u16, u16)>,
}

impl Compiler<'_> {
    /// The axes along which the stage's lanes run.
    fn lanes(&self) -> Range<usize> {
        let all = self.tape.inner && self.level == Level::Inner;
        0..if all { self.sizes.len() } else { self.kernel.outer }
    }

    fn walk(&mut self, affines: &[&Affine], keep_last: bool) -> Walk {
        // Where lanes are inner indices every position is one of lanes: an outer stage depends on no inner axis.
        let scalar = if self.tape.inner { 0..0 } else { self.kernel.outer..self.sizes.len() };
        let walk = Walk::new(affines, &self.sizes, &self.lanes(), &scalar, self.tape.lines, keep_last);
        self.tape.lines += walk.lines.len();
        walk
    }

    fn access(&mut self, access: &Access, direct: bool) -> u16 {
        let gather = access.gather.map(|gather| TapeGather {
            block: self.block(gather.register),
            stride: gather.stride,
            size: gather.size,
            uniform: match self.level {
                Level::Outer => self.uniform.0[gather.register],
                Level::Inner => self.uniform.1[gather.register],
            },
        });
        let affines: Vec<&Affine> =
            [&access.affine].into_iter().chain(access.guards.iter().map(|guard| &guard.affine)).collect();
        let walk = self.walk(&affines, gather.is_some());
        let sizes = access.guards.iter().map(|guard| guard.size).collect();
        self.tape.accesses.push(TapeAccess {
            slot: access.slot,
            dtype: access.dtype,
            walk,
            sizes,
            gather,
            pattern: None,
            direct,
        });
        (self.tape.accesses.len() - 1) as u16
    }

    /// The block of a register that exists; a constant gets its own at first use.
    fn block(&mut self, register: usize) -> u16 {
        if let Some(block) = self.blocks.of[register] {
            if self.tape.inner && self.level == Level::Inner && self.row_register[register] {
                return self.spread_block(register, block);
            }
            return block;
        }
        let block = self.blocks.fresh();
        self.blocks.of[register] = Some(block);
        if let Instruction::Const { bits, .. } = self.kernel.body[register] {
            self.tape.constants.push((block, bits));
        }
        block
    }

    /// Where the values of a row's register are spread over its lanes.
    fn spread_block(&mut self, register: usize, block: u16) -> u16 {
        let spread = match self.spread[register] {
            Some(spread) => spread,
            None => self.blocks.fresh(),
        };
        self.spread[register] = Some(spread);
        if !self.expanded.contains(&(block, spread)) {
            self.expanded.push((block, spread));
        }
        spread
    }

    fn op(&mut self, register: usize, to: u16, direct: bool) -> Op {
        let none = Op { code: Code::Copy, to, a: 0, b: 0, c: 0, place: 0 };
        match &self.kernel.body[register] {
            Instruction::Load { access, .. } => Op { code: Code::Load, place: self.access(access, direct), ..none },
            Instruction::Store { access, a, .. } => {
                Op { code: Code::Store, a: self.block(*a), place: self.access(access, false), ..none }
            }
            Instruction::Index { index } => {
                let walk = self.walk(&[index], false);
                self.tape.indices.push(TapeIndex { walk, pattern: None });
                Op { code: Code::Index, place: (self.tape.indices.len() - 1) as u16, ..none }
            }
            // Constants have no operation; they are filled in before.
            Instruction::Const { .. } => none,
            Instruction::Unary { op, kind, a } => Op { code: unary(*op, *kind), a: self.block(*a), ..none },
            Instruction::Binary { op, a, b, .. } => {
                let code = binary(*op, self.kernel.body[*a].kind());
                Op { code, a: self.block(*a), b: self.block(*b), ..none }
            }
            Instruction::Select { c, a, b, .. } => {
                Op { code: Code::Select, a: self.block(*a), b: self.block(*b), c: self.block(*c), ..none }
            }
            Instruction::Cast { kind, a } => {
                Op { code: cast(self.kernel.body[*a].kind(), *kind), a: self.block(*a), ..none }
            }
            Instruction::Reduce { kind, by, a } => Op { code: reduction(*by, *kind), a: self.block(*a), ..none },
        }
    }

    /// May a load be read where it lies until its last use? Not behind a store: it may be to the same elements.
    fn is_direct(&self, register: usize, registers: &[usize], place: usize, last_use: usize) -> bool {
        let body = &self.kernel.body;
        let Instruction::Load { access, .. } = &body[register] else { return false };
        let words = !matches!(access.dtype, StorageType::F16 | StorageType::Bf16);
        let stores = |&register: &usize| matches!(body[register], Instruction::Store { .. });
        let used = place..last_use.max(place).min(registers.len());
        words && access.gather.is_none() && access.guards.is_empty() && !registers[used].iter().any(stores)
    }

    /// `registers`: what the stage computes, but for constants. `kept`: registers that later stages use.
    fn stage(&mut self, stage: &Stage, registers: &[usize], kept: &[bool]) {
        self.level = stage.level;
        let body = &self.kernel.body;
        let mut last_use = vec![usize::MAX; body.len()];
        for (place, &register) in registers.iter().enumerate() {
            for operand in body[register].operands() {
                last_use[operand] = place;
            }
        }
        let start = self.tape.ops.len();
        let (mut accumulators, mut kept_blocks, mut temporary) = (Vec::new(), Vec::new(), Vec::new());
        for (place, &register) in registers.iter().enumerate() {
            let reduces = matches!(body[register], Instruction::Reduce { .. });
            let stores = matches!(body[register], Instruction::Store { .. });
            let keeps = reduces || self.wide[register] || stage.level == Level::Outer && kept[register];
            let direct = !keeps && self.is_direct(register, registers, place, last_use[register]);
            // Before the operands' blocks are free again: destination and sources differ.
            let to = if stores {
                0
            } else if keeps {
                self.blocks.fresh()
            } else if direct {
                self.blocks.take_direct()
            } else {
                self.blocks.take()
            };
            let op = self.op(register, to, direct);
            self.tape.ops.push(op);
            // A row's result: elsewhere than the lanes it is made of, unless lanes are rows.
            let home = if reduces && self.tape.inner { self.blocks.fresh() } else { to };
            if reduces {
                accumulators.push(Accumulator { block: to, result: home, code: op.code });
            }
            if self.wide[register] {
                self.tape.wide.push(to);
            } else if keeps {
                kept_blocks.push(home);
            }
            if !stores {
                self.blocks.of[register] = Some(home);
                self.row_register[register] = reduces || stage.level == Level::Outer;
                if !keeps {
                    temporary.push((register, direct));
                    if last_use[register] == usize::MAX {
                        last_use[register] = place;
                    }
                }
            }
            let blocks = &mut self.blocks;
            temporary.retain(|&(register, direct)| {
                let ends = last_use[register] == place;
                if ends {
                    let free = if direct { &mut blocks.free_direct } else { &mut blocks.free };
                    free.extend(blocks.of[register].take());
                }
                !ends
            });
        }
        let ops = start..self.tape.ops.len();
        let expanded = std::mem::take(&mut self.expanded);
        self.tape.stages.push(TapeStage { level: stage.level, ops, accumulators, kept: kept_blocks, expanded });
    }

    /// Joins the scalar axes as far as all lines run on evenly over them.
    fn join_scalar_axes(&mut self) {
        let counters = self.tape.indices.iter_mut().map(|index| &mut index.walk);
        let walks = self.tape.accesses.iter_mut().map(|access| &mut access.walk).chain(counters);
        let mut lines: Vec<(usize, &mut Line)> =
            walks.flat_map(|walk| (walk.first..).zip(walk.lines.iter_mut())).collect();
        let mut joined: Vec<Line> =
            lines.iter().map(|(_, line)| Line { offset: 0, scalar: vec![], strides: line.scalar.clone() }).collect();
        self.tape.scalar_sizes = collapse(&self.tape.scalar_sizes, &mut joined, false);
        let mut numbered: Vec<(usize, Vec<i64>)> = Vec::new();
        for (line, joined) in lines.iter_mut().zip(joined) {
            line.1.scalar = joined.strides;
            let row = [line.1.offset].into_iter().chain(line.1.scalar.iter().copied()).collect();
            numbered.push((line.0, row));
        }
        numbered.sort_unstable();
        self.tape.scalar_lines = numbered.into_iter().flat_map(|(_, row)| row).collect();
    }

    /// Finds the walks that come again, by blocks of a width that serves most of them.
    fn find_patterns(&mut self) {
        let tape = &mut self.tape;
        if !tape.inner && tape.width == LANES {
            let walks = || {
                let accesses = tape.accesses.iter().filter(|access| access.gather.is_none());
                accesses.map(|access| &access.walk).chain(tape.indices.iter().map(|index| &index.walk))
            };
            let served = |width: usize| walks().filter(|walk| Pattern::outer(walk, width).is_some()).count();
            let widths = (LANES / 2..=LANES).step_by(16);
            tape.width = widths.max_by_key(|&width| (served(width), width)).unwrap_or(LANES);
        }
        let width = match tape.columns {
            _ if !tape.inner => tape.width,
            // Short rows are computed several at a time.
            columns @ 1..LANES => LANES / columns * columns,
            _ => LANES,
        };
        for access in tape.accesses.iter_mut().filter(|access| access.gather.is_none()) {
            access.pattern = Pattern::of(&access.walk, &access.sizes, width);
        }
        for index in &mut tape.indices {
            index.pattern = Pattern::of(&index.walk, &[], width);
        }
    }
}

/// Lanes of a row up to which later stages find what earlier ones computed, rather than computing it again.
const KEEP: usize = 4096;
/// Registers of which that is true, at most.
const KEPT: usize = 8;

/// What each stage computes, but for constants, and which registers inner stages leave to later ones. Contiguous loads
/// are repeated: nothing is copied for them.
fn share(kernel: &LoopKernel, keep: bool) -> (Vec<Vec<usize>>, Vec<bool>) {
    let body = &kernel.body;
    let constant = |register: usize| matches!(body[register], Instruction::Const { .. });
    let plain: Vec<Vec<usize>> = kernel
        .stages
        .iter()
        .map(|stage| stage.registers.iter().copied().filter(|&register| !constant(register)).collect())
        .collect();
    let none = vec![false; body.len()];
    if !keep {
        return (plain, none);
    }
    let again = |register: usize| matches!(&body[register], Instruction::Load { access, .. } if access.gather.is_none() && access.guards.is_empty());
    let (mut known, mut wide, mut shared) = (none.clone(), none.clone(), Vec::new());
    for (stage, registers) in kernel.stages.iter().zip(&plain) {
        if stage.level == Level::Outer {
            shared.push(registers.clone());
            continue;
        }
        let mut needed = none.clone();
        let own = |register: usize| !known[register] || matches!(body[register], Instruction::Store { .. });
        for &register in registers.iter().filter(|&&register| own(register)) {
            needed[register] = true;
            for operand in body[register].operands().filter(|&operand| known[operand]) {
                if again(operand) {
                    needed[operand] = true;
                } else {
                    wide[operand] = true;
                }
            }
        }
        shared.push(registers.iter().copied().filter(|&register| needed[register]).collect());
        // What rows are reduced to has a lane for each row, in every stage.
        for &register in registers.iter().filter(|&&register| !matches!(body[register], Instruction::Reduce { .. })) {
            known[register] = true;
        }
    }
    if wide.iter().filter(|&&wide| wide).count() > KEPT { (plain, none) } else { (shared, wide) }
}

/// Rows of a block where lanes are rows. Depends on the shape only: results must not depend on the number of threads.
fn width(rows: usize, columns: usize) -> usize {
    if columns < 16 || rows >= 8 * LANES {
        return rows.clamp(1, LANES);
    }
    // Few rows with much work each: narrower blocks, so that there is one for every thread.
    rows.div_ceil(8).next_multiple_of(16).clamp(32, LANES).min(rows.max(1))
}

/// Translates a validated kernel.
pub fn compile(kernel: &LoopKernel) -> Tape {
    // An empty axis counts as one index where addresses are made: the other axes must still be found.
    let extents: Vec<usize> = kernel.sizes.iter().map(|&size| size as usize).collect();
    let sizes: Vec<usize> = extents.iter().map(|&size| size.max(1)).collect();
    let rows: usize = extents[..kernel.outer].iter().product();
    let columns: usize = extents[kernel.outer..].iter().product();
    let inner = kernel.lanes == Lanes::Inner && columns > 1;
    let tape = Tape {
        inner,
        rows,
        columns,
        width: width(rows, columns),
        scalar_sizes: if inner { vec![] } else { sizes[kernel.outer..].to_vec() },
        scalar_lines: vec![],
        ops: vec![],
        accesses: vec![],
        indices: vec![],
        stages: vec![],
        constants: vec![],
        wide: vec![],
        blocks: 0,
        lines: 0,
    };
    let (registers, wide) = share(kernel, inner && columns <= KEEP);
    // A register of one stage that another one uses.
    let mut kept = vec![false; kernel.body.len()];
    for stage in &kernel.stages {
        for &register in &stage.registers {
            for operand in kernel.body[register].operands() {
                kept[operand] |= !stage.registers.contains(&operand);
            }
        }
    }
    let rows_apart = uniform(kernel, &(0..kernel.outer), false);
    let along = if inner { uniform(kernel, &(0..sizes.len()), true) } else { rows_apart.clone() };
    let count = kernel.body.len();
    let mut compiler = Compiler {
        kernel,
        sizes,
        uniform: (rows_apart, along),
        tape,
        blocks: Blocks { of: vec![None; count], free: vec![], free_direct: vec![], count: 0 },
        level: Level::Outer,
        row_register: vec![false; count],
        wide,
        spread: vec![None; count],
        expanded: vec![],
    };
    for (stage, registers) in kernel.stages.iter().zip(&registers) {
        compiler.stage(stage, registers, &kept);
    }
    compiler.join_scalar_axes();
    compiler.find_patterns();
    compiler.tape.blocks = compiler.blocks.count.max(1);
    compiler.tape
}
