//! Validation of a loop kernel: types, stages, accesses.

use super::check::Bindings;
use super::extent;
use super::instruction::{Access, Affine, Binary, Instruction, Level, Reduction, RegisterType, Stage, Unary};
use super::kernel::LoopKernel;
use crate::ensure;
use crate::error::Result;

/// Axes of a loop, at most.
pub const MAX_AXES: usize = 16;
/// Instructions of a body, at most.
const MAX_BODY: usize = 1 << 14;

fn is_number(kind: RegisterType) -> bool {
    kind != RegisterType::Bool
}

fn is_integer(kind: RegisterType) -> bool {
    matches!(kind, RegisterType::I32 | RegisterType::U32)
}

fn unary_fits(op: Unary, kind: RegisterType) -> bool {
    match op {
        Unary::Neg | Unary::Abs => is_number(kind),
        Unary::Not => kind != RegisterType::F32,
        _ => kind == RegisterType::F32,
    }
}

/// `operand`: the type of `a` and `b`, `kind`: of the result.
fn binary_fits(op: Binary, operand: RegisterType, kind: RegisterType) -> bool {
    match op {
        Binary::Less => is_number(operand) && kind == RegisterType::Bool,
        Binary::Equal => kind == RegisterType::Bool,
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Max | Binary::Min => is_number(kind) && operand == kind,
        Binary::And | Binary::Or | Binary::Xor => kind != RegisterType::F32 && operand == kind,
        Binary::Shl | Binary::Shr => is_integer(kind) && operand == kind,
    }
}

/// Types of one instruction, and that it uses values which exist.
fn check_types(body: &[Instruction], number: usize) -> Result<()> {
    let instruction = &body[number];
    for operand in instruction.operands() {
        ensure!(operand < body.len(), "register {number} uses register {operand}, which does not exist");
        ensure!(operand < number, "register {number} uses register {operand}, which comes later");
        ensure!(!matches!(body[operand], Instruction::Store { .. }), "register {number} uses a store's result");
    }
    let kind = instruction.kind();
    let type_of = |register: usize| body[register].kind();
    let fits = match instruction {
        Instruction::Load { access, .. } => access.dtype.register() == kind,
        Instruction::Store { access, a, .. } => access.dtype.register() == kind && type_of(*a) == kind,
        Instruction::Index { .. } | Instruction::Cast { .. } => true,
        Instruction::Const { bits, .. } => kind != RegisterType::Bool || *bits < 2,
        Instruction::Unary { op, a, .. } => unary_fits(*op, kind) && type_of(*a) == kind,
        Instruction::Binary { op, a, b, .. } => type_of(*a) == type_of(*b) && binary_fits(*op, type_of(*a), kind),
        Instruction::Select { c, a, b, .. } => {
            type_of(*c) == RegisterType::Bool && type_of(*a) == kind && type_of(*b) == kind
        }
        Instruction::Reduce { by: Reduction::Sum | Reduction::Max | Reduction::Min, a, .. } => {
            is_number(kind) && type_of(*a) == kind
        }
    };
    ensure!(fits, "the types of register {number} do not fit together ({instruction:?})");
    if let Some(gather) = instruction.access().and_then(|access| access.gather) {
        ensure!(
            type_of(gather.register) == RegisterType::I32,
            "register {number} gathers by a register that is no i32"
        );
    }
    Ok(())
}

fn check_affine(affine: &Affine, sizes: &[i64]) -> Result<()> {
    ensure!(affine.strides.len() == sizes.len(), "{} strides for {} axes", affine.strides.len(), sizes.len());
    ensure!(extent::is_moderate(affine, sizes), "an address is too large");
    Ok(())
}

fn affines(access: &Access) -> impl Iterator<Item = &Affine> {
    [&access.affine].into_iter().chain(access.guards.iter().map(|guard| &guard.affine))
}

fn check_access(kernel: &LoopKernel, access: &Access, written: bool, bindings: &mut Bindings) -> Result<()> {
    ensure!(access.guards.len() <= 8, "{} guards are too many", access.guards.len());
    for affine in affines(access) {
        check_affine(affine, &kernel.sizes)?;
    }
    if let Some(gather) = access.gather {
        let reach = Affine { offset: 0, strides: vec![gather.stride] };
        ensure!(extent::is_moderate(&reach, &[gather.size]), "a gather reaches too far");
        ensure!(gather.size <= 1 << 31, "a gather's size is too large");
    }
    bindings.touch(access.slot, access.dtype.bytes(), extent::of_access(access, &kernel.sizes), written)
}

/// An instruction of an outer stage must not depend on the inner indices; a store hits each element once.
fn check_level(kernel: &LoopKernel, number: usize, level: Level) -> Result<()> {
    let instruction = &kernel.body[number];
    if level == Level::Outer {
        let none: [&Affine; 0] = [];
        let index = if let Instruction::Index { index } = instruction { Some(index) } else { None };
        let access = instruction.access().map(affines).into_iter().flatten();
        for affine in none.into_iter().chain(index).chain(access) {
            let varies = affine.strides[kernel.outer..].iter().zip(&kernel.sizes[kernel.outer..]);
            let varies = varies.into_iter().any(|(&stride, &size)| stride != 0 && size > 1);
            ensure!(!varies, "register {number} of an outer stage depends on an inner axis");
        }
    }
    if let Instruction::Store { access, .. } = instruction
        && access.gather.is_none()
    {
        let axes = if level == Level::Outer { kernel.outer } else { kernel.sizes.len() };
        let axes = kernel.sizes.iter().copied().zip(access.affine.strides.iter().copied()).take(axes);
        ensure!(extent::is_injective(axes), "register {number} stores several values to one element");
    }
    Ok(())
}

/// `done`: registers that live on after their stage.
fn check_stage(kernel: &LoopKernel, stage: &Stage, done: &mut [bool]) -> Result<()> {
    let mut here = done.to_vec();
    let mut kept = Vec::new();
    for &number in &stage.registers {
        ensure!(number < kernel.body.len(), "a stage lists register {number}, which does not exist");
        let instruction = &kernel.body[number];
        if matches!(instruction, Instruction::Const { .. }) {
            continue;
        }
        ensure!(!done[number] && !kept.contains(&number), "register {number} is computed twice");
        for operand in instruction.operands() {
            ensure!(here[operand], "register {number} uses register {operand}, which is not computed there");
        }
        check_level(kernel, number, stage.level)?;
        match instruction {
            Instruction::Reduce { .. } => {
                ensure!(stage.level == Level::Inner, "register {number} reduces in an outer stage");
                kept.push(number);
            }
            Instruction::Store { .. } => kept.push(number),
            _ if stage.level == Level::Outer => {
                kept.push(number);
                here[number] = true;
            }
            _ => here[number] = true,
        }
    }
    for number in kept {
        done[number] = true;
    }
    Ok(())
}

/// Checks the kernel and adds what it does with its slots.
pub fn check(kernel: &LoopKernel, bindings: &mut Bindings) -> Result<()> {
    let LoopKernel { sizes, outer, body, stages, .. } = kernel;
    ensure!(sizes.len() <= MAX_AXES, "{} axes are too many", sizes.len());
    ensure!(body.len() <= MAX_BODY, "{} instructions are too many", body.len());
    ensure!(*outer <= sizes.len(), "{outer} outer axes of {}", sizes.len());
    ensure!(sizes.iter().all(|&size| size >= 0), "a size is negative");
    let iterations = sizes.iter().fold(1_i128, |product, &size| product.saturating_mul(i128::from(size).max(1)));
    ensure!(iterations < 1 << 50, "{iterations} iterations are too many");
    for (number, instruction) in body.iter().enumerate() {
        check_types(body, number)?;
        match instruction {
            Instruction::Index { index } => check_affine(index, sizes)?,
            Instruction::Load { access, .. } => check_access(kernel, access, false, bindings)?,
            Instruction::Store { access, .. } => check_access(kernel, access, true, bindings)?,
            _ => {}
        }
    }
    let constants = body.iter().map(|instruction| matches!(instruction, Instruction::Const { .. }));
    let mut done: Vec<bool> = constants.collect();
    for stage in stages {
        check_stage(kernel, stage, &mut done)?;
    }
    for (number, instruction) in body.iter().enumerate() {
        let runs = done[number] || !matches!(instruction, Instruction::Store { .. });
        ensure!(runs, "no stage lists the store {number}");
    }
    Ok(())
}
