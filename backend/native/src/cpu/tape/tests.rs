//! Tapes against an evaluator that takes one element after the other.

use std::sync::atomic::AtomicU32;

use super::evaluate::{evaluate, float};
use super::{Launch, compile, run, runner};
use crate::cpu::tests::{Random, in_threads};
use crate::cpu::{Status, convert};
use crate::plan::{
    Access, Affine, Binary, Gather, Guard, Instruction, Kernel, Lanes, Level, LoopKernel, Reduction, RegisterType,
    Stage, StorageType, Unary,
};

const F32: RegisterType = RegisterType::F32;
const I32: RegisterType = RegisterType::I32;

/// Runs the tape with so many threads; true if it reported an index.
fn launch(kernel: &LoopKernel, slots: &mut [Vec<u32>], threads: usize) -> bool {
    let bindings = Kernel::Loop(kernel.clone()).bindings().unwrap();
    for (slot, binding) in bindings.iter().enumerate() {
        assert!(binding.bytes <= slots[slot].len() as u64 * 4, "slot {slot} is too small for the test");
    }
    let tape = compile(kernel);
    let word = AtomicU32::new(0);
    let addresses: Vec<usize> = slots.iter_mut().map(|slot| slot.as_mut_ptr() as usize).collect();
    in_threads(threads, || {
        let slots: Vec<*mut u8> = addresses.iter().map(|&address| address as *mut u8).collect();
        let status = Status { word: &word, mark: 7 };
        let launch = Launch { tape: &tape, slots: &slots, status, runner: runner() };
        // SAFETY: validated above, and the slots are as long as the bindings say.
        unsafe { run(&launch) };
    });
    let reported = word.into_inner();
    assert!(reported == 0 || reported == 7);
    reported == 7
}

fn agree(kernel: &LoopKernel, slots: &[Vec<u32>]) {
    let mut expected = slots.to_vec();
    let wrong = evaluate(kernel, &mut expected);
    for threads in [1, 3] {
        let mut found = slots.to_vec();
        assert_eq!(launch(kernel, &mut found, threads), wrong, "status of {kernel:?}");
        for (slot, (found, expected)) in found.iter().zip(&expected).enumerate() {
            // All stored values are reals; which zero a sum of zeros is depends on the order.
            let same = |at: usize| found[at] == expected[at] || float(found[at]) == float(expected[at]);
            if let Some(at) = (0..found.len()).find(|&at| !same(at)) {
                panic!(
                    "slot {slot} element {at}: {:x} ({}) instead of {:x} ({}), {threads} threads\n{kernel:#?}",
                    found[at],
                    float(found[at]),
                    expected[at],
                    float(expected[at])
                );
            }
        }
    }
}

/// Row-major strides over the axes that `keeps` keeps, in a random order of axes; the extent beside them.
fn layout(random: &mut Random, sizes: &[i64], keeps: impl Fn(usize) -> bool) -> (Vec<i64>, i64) {
    let mut axes: Vec<usize> = (0..sizes.len()).filter(|&axis| keeps(axis)).collect();
    if random.below(2) == 0 {
        random.shuffle(&mut axes);
    }
    let mut strides = vec![0; sizes.len()];
    let mut extent = 1;
    for axis in axes.into_iter().rev() {
        strides[axis] = extent;
        extent *= sizes[axis];
    }
    (strides, extent)
}

struct Generator {
    random: Random,
    sizes: Vec<i64>,
    body: Vec<Instruction>,
    slots: Vec<Vec<u32>>,
}

impl Generator {
    fn push(&mut self, instruction: Instruction) -> usize {
        self.body.push(instruction);
        self.body.len() - 1
    }

    fn slot(&mut self, extent: i64, value: impl Fn(&mut Random) -> u32) -> usize {
        let values = (0..extent).map(|_| value(&mut self.random)).collect();
        self.slots.push(values);
        self.slots.len() - 1
    }

    /// A load that varies along some of the first `axes` axes, with guards or a gather now and then.
    fn load(&mut self, axes: usize, index: Option<usize>) -> usize {
        let kept: Vec<bool> = (0..self.sizes.len()).map(|axis| axis < axes && self.random.below(4) > 0).collect();
        let (mut strides, extent) = layout(&mut self.random, &self.sizes, |axis| kept[axis]);
        let mut offset = self.random.below(4) as i64;
        let mut guards = vec![];
        for axis in 0..axes {
            if kept[axis] && self.random.below(4) == 0 {
                // A padded axis: 1 before, 1 behind.
                let along = (0..self.sizes.len()).map(|other| i64::from(other == axis)).collect();
                guards.push(Guard { affine: Affine { offset: -1, strides: along }, size: self.sizes[axis] - 2 });
            }
            if kept[axis] && self.random.below(6) == 0 {
                // Backwards.
                offset += strides[axis] * (self.sizes[axis] - 1);
                strides[axis] = -strides[axis];
            }
        }
        let gather = index.map(|register| Gather { register, stride: extent, size: 3 });
        let slot = self.slot(4 + extent * 3, |random| (random.below(17) as f32 - 8.0).to_bits());
        let affine = Affine { offset, strides };
        self.push(Instruction::Load {
            kind: F32,
            access: Access { affine, slot, dtype: StorageType::F32, guards, gather },
        })
    }

    fn index(&mut self, axes: usize) -> usize {
        let kept: Vec<bool> = (0..self.sizes.len()).map(|axis| axis < axes && self.random.below(2) > 0).collect();
        let (strides, extent) = layout(&mut self.random, &self.sizes, |axis| kept[axis]);
        let slot =
            self.slot(extent, |random| if random.below(40) == 0 { 9 } else { random.below(4) as u32 }.wrapping_sub(1));
        let affine = Affine { offset: 0, strides };
        let access = Access { affine, slot, dtype: StorageType::I32, guards: vec![], gather: None };
        self.push(Instruction::Load { kind: I32, access })
    }

    /// Some instructions over registers that exist; the last one is f32.
    fn compute(&mut self, floats: &mut Vec<usize>, axes: usize) {
        for _ in 0..1 + self.random.below(5) {
            let a = floats[self.random.below(floats.len())];
            let b = floats[self.random.below(floats.len())];
            let kind = F32;
            let register = match self.random.below(11) {
                0 => self.push(Instruction::Unary { op: Unary::Neg, kind, a }),
                1 => self.push(Instruction::Unary { op: Unary::Abs, kind, a }),
                2 => {
                    let c = self.push(Instruction::Binary { op: Binary::Less, kind: RegisterType::Bool, a, b });
                    let c = self.push(Instruction::Unary { op: Unary::Not, kind: RegisterType::Bool, a: c });
                    self.push(Instruction::Select { kind, c, a, b })
                }
                3 => {
                    let strides =
                        (0..self.sizes.len()).map(|axis| if axis < axes { axis as i64 + 1 } else { 0 }).collect();
                    let i = self.push(Instruction::Index { index: Affine { offset: -3, strides } });
                    let j = self.push(Instruction::Cast { kind: I32, a });
                    let i = self.push(Instruction::Binary { op: Binary::Min, kind: I32, a: i, b: j });
                    self.push(Instruction::Cast { kind, a: i })
                }
                4 => self.push(Instruction::Const { kind, bits: 2.5_f32.to_bits() }),
                5 => {
                    let half = self.push(Instruction::Const { kind, bits: 0.5_f32.to_bits() });
                    let x = self.push(Instruction::Binary { op: Binary::Mul, kind, a, b: half });
                    self.push(Instruction::Unary { op: Unary::Floor, kind, a: x })
                }
                6 => self.push(Instruction::Binary { op: Binary::Max, kind, a, b }),
                7 => self.push(Instruction::Binary { op: Binary::Sub, kind, a, b }),
                8 => self.push(Instruction::Unary { op: Unary::RoundF16, kind, a }),
                9 => self.push(Instruction::Unary { op: Unary::RoundBf16, kind, a }),
                _ => self.push(Instruction::Binary { op: Binary::Add, kind, a, b }),
            };
            floats.push(register);
        }
    }

    fn store(&mut self, axes: usize, a: usize) {
        let (strides, extent) = layout(&mut self.random, &self.sizes, |axis| axis < axes);
        let slot = self.slot(extent, |_| 0x7fc0_0000);
        let affine = Affine { offset: 0, strides };
        let access = Access { affine, slot, dtype: StorageType::F32, guards: vec![], gather: None };
        self.push(Instruction::Store { kind: F32, access, a });
    }
}

/// loads → reductions → rows → another pass over the inner axes, which computes some registers again.
fn random_kernel(seed: u64) -> (LoopKernel, Vec<Vec<u32>>) {
    let mut random = Random(seed);
    let rank = 1 + random.below(4);
    let mut sizes: Vec<i64> = (0..rank).map(|_| 1 + random.below(7) as i64).collect();
    let long = random.below(rank);
    sizes[long] = [5, 40, 300, 700][random.below(4)];
    let outer = random.below(rank + 1);
    let lanes = if random.below(2) == 0 { Lanes::Inner } else { Lanes::Outer };
    let mut make = Generator { random, sizes, body: vec![], slots: vec![] };
    let mut stages = vec![];
    let mut rows = vec![];
    let mut stage = |make: &Generator, level, from: usize, again: &[usize]| {
        let registers = again.iter().copied().chain(from..make.body.len()).collect();
        stages.push(Stage { level, registers });
    };
    if make.random.below(2) == 0 {
        let index = make.index(outer);
        let gathered = make.load(outer, Some(index));
        rows.push(gathered);
        make.compute(&mut rows, outer);
        stage(&make, Level::Outer, 0, &[]);
    }
    if outer < rank || make.random.below(4) == 0 {
        let start = make.body.len();
        let index = make.index(rank);
        let first = make.load(rank, Some(index));
        let second = make.load(rank, None);
        let again = [index, first, second];
        let mut floats = [&rows[..], &[first, second]].concat();
        make.compute(&mut floats, rank);
        let mut reduced = vec![];
        for by in [Reduction::Sum, Reduction::Max, Reduction::Min] {
            if make.random.below(3) > 0 {
                let a = floats[make.random.below(floats.len())];
                reduced.push(make.push(Instruction::Reduce { kind: F32, by, a }));
            }
        }
        if make.random.below(3) == 0 {
            make.store(rank, *floats.last().unwrap());
        }
        stage(&make, Level::Inner, start, &[]);
        rows.extend(reduced);
        let start = make.body.len();
        if !rows.is_empty() {
            make.compute(&mut rows, outer);
            make.store(outer, *rows.last().unwrap());
            stage(&make, Level::Outer, start, &[]);
        }
        let start = make.body.len();
        let mut floats = [&rows[..], &[first, second]].concat();
        make.compute(&mut floats, rank);
        make.store(rank, *floats.last().unwrap());
        stage(&make, Level::Inner, start, &again);
    } else {
        let start = make.body.len();
        rows.push(make.load(outer, None));
        make.compute(&mut rows, outer);
        make.store(outer, *rows.last().unwrap());
        stage(&make, Level::Outer, start, &[]);
    }
    let Generator { sizes, body, slots, .. } = make;
    (LoopKernel { sizes, outer, lanes, body, stages }, slots)
}

#[test]
fn random_kernels_do_what_their_definition_says() {
    for seed in 0..1500 {
        let (kernel, slots) = random_kernel(seed);
        agree(&kernel, &slots);
    }
}

fn dense(sizes: &[i64], slot: usize, dtype: StorageType) -> Access {
    let mut strides = vec![1; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis] * sizes[axis];
    }
    Access { affine: Affine { offset: 0, strides }, slot, dtype, guards: vec![], gather: None }
}

/// Sums of `x` over the inner axes, stored per row, and x minus its row's sum.
fn sums(sizes: &[i64], outer: usize, lanes: Lanes) -> LoopKernel {
    let per_row =
        Access { affine: Affine { offset: 0, strides: vec![0; sizes.len()] }, ..dense(sizes, 1, StorageType::F32) };
    let mut rows = per_row;
    let mut extent = 1;
    for axis in (0..outer).rev() {
        rows.affine.strides[axis] = extent;
        extent *= sizes[axis];
    }
    let body = vec![
        Instruction::Load { kind: F32, access: dense(sizes, 0, StorageType::F32) },
        Instruction::Reduce { kind: F32, by: Reduction::Sum, a: 0 },
        Instruction::Store { kind: F32, access: rows, a: 1 },
        Instruction::Binary { op: Binary::Sub, kind: F32, a: 0, b: 1 },
        Instruction::Store { kind: F32, access: dense(sizes, 2, StorageType::F32), a: 3 },
    ];
    let stage = |level, registers: &[usize]| Stage { level, registers: registers.to_vec() };
    let stages = vec![stage(Level::Inner, &[0, 1]), stage(Level::Outer, &[2]), stage(Level::Inner, &[0, 3, 4])];
    LoopKernel { sizes: sizes.to_vec(), outer, lanes, body, stages }
}

/// x[batch, seq, head, dim] less itself with a head's halves exchanged and its counter, stored head by head: walks whose
/// runs are shorter than a block, and come again.
fn exchanged_halves(sizes: [i64; 4], dtype: StorageType) -> LoopKernel {
    let [batch, seq, head, dim] = sizes;
    let half = dim / 2;
    let along = |offset| Affine { offset, strides: vec![0, 0, 0, 1] };
    let moved = |by: i64| {
        let mut access = dense(&sizes, 0, dtype);
        access.affine.offset = by;
        access.guards = vec![Guard { affine: along(by), size: dim }];
        Instruction::Load { kind: F32, access }
    };
    let mut by_head = dense(&[batch, head, seq, dim], 1, StorageType::F32);
    by_head.affine.strides.swap(1, 2);
    let body = vec![
        moved(half),
        moved(-half),
        Instruction::Index { index: along(0) },
        Instruction::Cast { kind: F32, a: 2 },
        Instruction::Binary { op: Binary::Add, kind: F32, a: 0, b: 1 },
        Instruction::Load { kind: F32, access: dense(&sizes, 0, dtype) },
        Instruction::Binary { op: Binary::Sub, kind: F32, a: 5, b: 4 },
        Instruction::Binary { op: Binary::Sub, kind: F32, a: 6, b: 3 },
        Instruction::Store { kind: F32, access: by_head, a: 7 },
    ];
    let stages = vec![Stage { level: Level::Outer, registers: (0..body.len()).collect() }];
    LoopKernel { sizes: sizes.to_vec(), outer: 4, lanes: Lanes::Outer, body, stages }
}

#[test]
fn runs_that_come_again() {
    // Blocks of 512 lanes, of 288 (half of nine heads), narrow ones, and some that no block divides.
    for sizes in [[3, 33, 8, 32], [2, 12, 9, 64], [1, 37, 8, 64], [2, 7, 5, 48], [3, 67, 3, 30]] {
        let count = sizes.iter().product::<i64>() as usize;
        let x: Vec<u32> = (0..count).map(|i| ((i * 7 % 23) as f32).to_bits()).collect();
        agree(&exchanged_halves(sizes, StorageType::F32), &[x, vec![0; count]]);
    }
}

/// Long rows in pieces, many rows in parallel, both kinds of lanes; exact, because the values are small integers.
#[test]
fn long_rows_and_many_rows_sum_exactly() {
    let cases: [(&[i64], usize); 9] = [
        (&[3_000, 24], 1),
        (&[700, 4, 96], 2),
        (&[100_003], 0),
        (&[2, 50_000], 1),
        (&[40_000, 3], 1),
        (&[3, 700, 100], 1),
        (&[500, 300], 1),
        (&[20, 9_000], 1),
        (&[1, 0], 1),
    ];
    for (sizes, outer) in cases {
        for lanes in [Lanes::Inner, Lanes::Outer] {
            let mut random = Random(1);
            let elements = sizes.iter().product::<i64>() as usize;
            let rows = sizes[..outer].iter().product::<i64>() as usize;
            let x: Vec<u32> = (0..elements).map(|_| (random.below(9) as f32 - 4.0).to_bits()).collect();
            agree(&sums(sizes, outer, lanes), &[x, vec![0x7fc0_0000; rows], vec![0x7fc0_0000; elements]]);
        }
    }
}

#[test]
fn sums_do_not_depend_on_the_number_of_threads() {
    let cases: [(&[i64], usize); 4] = [(&[100_003], 0), (&[3, 70_000], 1), (&[12, 20_000], 1), (&[600, 700], 1)];
    for (sizes, outer) in cases {
        for lanes in [Lanes::Inner, Lanes::Outer] {
            let kernel = sums(sizes, outer, lanes);
            let mut random = Random(2);
            let elements = sizes.iter().product::<i64>() as usize;
            let rows = sizes[..outer].iter().product::<i64>() as usize;
            let x: Vec<u32> = (0..elements).map(|_| random.normal().to_bits()).collect();
            let results = [1, 2, 5].map(|threads| {
                let mut slots = vec![x.clone(), vec![0; rows], vec![0; elements]];
                launch(&kernel, &mut slots, threads);
                slots
            });
            assert!(results[0] == results[1] && results[0] == results[2], "{sizes:?} {lanes:?}");
        }
    }
}

#[test]
fn sixteen_bit_elements_are_converted() {
    for (dtype, widen, narrow) in [
        (StorageType::F16, convert::from_f16 as fn(u16) -> f32, convert::to_f16 as fn(f32) -> u16),
        (StorageType::Bf16, convert::from_bf16, convert::to_bf16),
    ] {
        let sizes = [3_i64, 101];
        let body = vec![
            Instruction::Load { kind: F32, access: dense(&sizes, 0, dtype) },
            Instruction::Const { kind: F32, bits: 1.01_f32.to_bits() },
            Instruction::Binary { op: Binary::Mul, kind: F32, a: 0, b: 1 },
            Instruction::Store { kind: F32, access: dense(&sizes, 1, dtype), a: 2 },
        ];
        let stages = vec![Stage { level: Level::Outer, registers: vec![0, 1, 2, 3] }];
        let kernel = LoopKernel { sizes: sizes.to_vec(), outer: 2, lanes: Lanes::Outer, body, stages };
        let mut random = Random(3);
        let values: Vec<u16> = (0..304).map(|_| narrow(random.normal())).collect();
        let words: Vec<u32> = values.chunks(2).map(|pair| u32::from(pair[0]) | u32::from(pair[1]) << 16).collect();
        let mut slots = vec![words, vec![0; 152]];
        launch(&kernel, &mut slots, 1);
        for (i, &value) in values.iter().enumerate().take(303) {
            let found = (slots[1][i / 2] >> (16 * (i % 2))) as u16;
            assert_eq!(found, narrow(widen(value) * 1.01), "element {i}");
        }
    }
}

/// The functions of f32 that the random kernels leave out.
#[test]
fn functions_of_reals() {
    type Exact = fn(f64) -> f64;
    let functions: [(Unary, Exact); 8] = [
        (Unary::Exp, f64::exp),
        (Unary::Log, f64::ln),
        (Unary::Recip, f64::recip),
        (Unary::Sqrt, f64::sqrt),
        (Unary::Sin, f64::sin),
        (Unary::Cos, f64::cos),
        (Unary::Tanh, f64::tanh),
        (Unary::Abs, f64::abs),
    ];
    let x: Vec<f32> =
        (0..1000).map(|i| (i as f32 - 300.0) * 0.037).chain([1e9, 3e38, f32::INFINITY, f32::NAN]).collect();
    let sizes = [x.len() as i64];
    for (op, exact) in functions {
        let body = vec![
            Instruction::Load { kind: F32, access: dense(&sizes, 0, StorageType::F32) },
            Instruction::Unary { op, kind: F32, a: 0 },
            Instruction::Store { kind: F32, access: dense(&sizes, 1, StorageType::F32), a: 1 },
        ];
        let stages = vec![Stage { level: Level::Outer, registers: vec![0, 1, 2] }];
        let kernel = LoopKernel { sizes: sizes.to_vec(), outer: 1, lanes: Lanes::Inner, body, stages };
        let mut slots = vec![x.iter().map(|x| x.to_bits()).collect(), vec![0; x.len()]];
        launch(&kernel, &mut slots, 1);
        for (&x, &bits) in x.iter().zip(&slots[1]) {
            let (found, exact) = (float(bits), exact(f64::from(x)) as f32);
            let close = (found - exact).abs() <= 3e-7 * exact.abs();
            assert!(close || found == exact || found.is_nan() && exact.is_nan(), "{op:?}({x}) = {found}, not {exact}");
        }
    }
}

#[test]
fn nan_passes_through_max_and_min() {
    for by in [Reduction::Max, Reduction::Min] {
        for at in [0, 17, 299] {
            let body = vec![
                Instruction::Load { kind: F32, access: dense(&[300], 0, StorageType::F32) },
                Instruction::Reduce { kind: F32, by, a: 0 },
                Instruction::Store {
                    kind: F32,
                    access: Access {
                        affine: Affine { offset: 0, strides: vec![0] },
                        ..dense(&[300], 1, StorageType::F32)
                    },
                    a: 1,
                },
            ];
            let stages = vec![
                Stage { level: Level::Inner, registers: vec![0, 1] },
                Stage { level: Level::Outer, registers: vec![2] },
            ];
            let kernel = LoopKernel { sizes: vec![300], outer: 0, lanes: Lanes::Inner, body, stages };
            let mut slots = vec![vec![1.0_f32.to_bits(); 300], vec![0]];
            slots[0][at] = f32::NAN.to_bits();
            launch(&kernel, &mut slots, 1);
            assert!(float(slots[1][0]).is_nan());
        }
    }
}
