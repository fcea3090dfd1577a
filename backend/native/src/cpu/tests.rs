//! Every kernel kind against plain loops, and the device as a whole.

use super::*;
use crate::plan::{
    Argument, Checked, ColumnAxis, CopyKernel, DepthAxis, GroupedIntoKernel, GroupedKernel, Kernel, Offsets,
    OperandTypes, OrderKernel, PlanStep, RowAxis, ScatterAxis, ScatterKernel, TopkAxis, TopkKernel, TopkSlots,
};

/// A small generator of random numbers (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Roughly normal.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.next() as f32 / 2_f32.powi(64)).sum::<f32>() - 6.0
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Runs `body` in a pool of so many threads. Pools are kept: starting thousands of them takes long.
pub fn in_threads<R: Send>(threads: usize, body: impl FnOnce() -> R + Send) -> R {
    static POOLS: Mutex<Vec<(usize, Arc<rayon::ThreadPool>)>> = Mutex::new(Vec::new());
    let known = lock(&POOLS).iter().find(|(count, _)| *count == threads).map(|(_, pool)| pool.clone());
    let pool = known.unwrap_or_else(|| {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
        lock(&POOLS).push((threads, pool.clone()));
        pool
    });
    pool.install(body)
}

fn plan(kernel: Kernel, bytes: &[u64]) -> Plan {
    let arguments = bytes.iter().map(|&bytes| Argument { bytes, mode: Mode::In }).collect();
    let buffers =
        bytes.iter().enumerate().map(|(index, &bytes)| PlanBuffer::Argument { index, offset: 0, bytes }).collect();
    let steps = vec![PlanStep { kernel: 0, buffers: (0..bytes.len()).collect() }];
    Plan {
        version: 1,
        arena: vec![],
        upload: 0,
        arguments,
        buffers,
        kernels: vec![kernel],
        steps,
        poison: false,
        timed: false,
    }
}

/// Runs a kernel on a device with so many threads; slots are words. Gives the slots after it, and the status.
pub fn launch(kernel: &Kernel, slots: &[Vec<u32>], threads: usize) -> (Vec<Vec<u32>>, u32) {
    let device = Cpu::new(threads).unwrap();
    let bytes: Vec<u64> = slots.iter().map(|slot| slot.len() as u64 * 4).collect();
    let plan = device.load(plan(kernel.clone(), &bytes)).unwrap();
    let mut handles: Vec<u64> = bytes.iter().map(|&bytes| device.allocate(bytes).unwrap()).collect();
    for (&handle, slot) in handles.iter().zip(slots) {
        device.write(handle, 0, bytemuck::cast_slice(slot)).unwrap();
    }
    device.run(plan, &mut handles, &[]).unwrap();
    let read = |(&handle, slot): (&u64, &Vec<u32>)| {
        let mut words = vec![0_u32; slot.len()];
        device.read(handle, 0, bytemuck::cast_slice_mut(&mut words)).unwrap();
        words
    };
    (handles.iter().zip(slots).map(read).collect(), device.status().unwrap())
}

pub fn floats(random: &mut Random, count: usize) -> Vec<u32> {
    (0..count).map(|_| random.normal().to_bits()).collect()
}

pub fn nans(count: usize) -> Vec<u32> {
    vec![POISON; count]
}

pub fn close(found: &[u32], expected: &[f64], tolerance: f64, what: &str) {
    for (at, (&bits, &expected)) in found.iter().zip(expected).enumerate() {
        let found = f64::from(f32::from_bits(bits));
        // NaN in `expected`: not written.
        let same = if expected.is_nan() { bits == POISON } else { (found - expected).abs() <= tolerance };
        assert!(same, "{what}: element {at} is {found}, not {expected}");
    }
}

pub fn value(words: &[u32], at: i64) -> f64 {
    f64::from(f32::from_bits(words[usize::try_from(at).unwrap()]))
}

fn order(index: &[i32], groups: i64) -> (Vec<u32>, u32) {
    let kernel = Kernel::Order(OrderKernel { groups, positions: index.len() as i64 });
    let words = index.iter().map(|&index| index as u32).collect();
    let (slots, status) = launch(&kernel, &[words, nans(index.len() + groups as usize + 1)], 1);
    (slots[1].clone(), status)
}

#[test]
fn order_is_a_stable_counting_sort() {
    let (found, status) = order(&[2, 0, -1, 2, 1, 0, 2], 4);
    assert_eq!(found, [1, 5, 4, 0, 3, 6, 2, 0, 2, 3, 6, 6]);
    assert_eq!(status, 0);
    let (found, status) = order(&[7, 0, -2], 2);
    assert_eq!(found, [1, 0, 2, 0, 1, 1]);
    assert_eq!(status, 1, "an index out of range is reported");
}

/// (index, order) of random groups, some positions without one.
fn routing(random: &mut Random, positions: usize, groups: i64) -> (Vec<i32>, Vec<u32>) {
    // The last group stays empty.
    let index: Vec<i32> = (0..positions).map(|_| random.below(groups as usize) as i32 - 1).collect();
    let order = order(&index, groups).0;
    (index, order)
}

#[test]
fn grouped_products_choose_weights_by_index() {
    let mut random = Random(6);
    for (tokens, slots, groups, depth, width) in
        [(5, 2, 4, 7, 9), (200, 3, 8, 33, 40), (1, 1, 2, 5, 3), (4, 2, 3, 0, 6)]
    {
        for transposed in [false, true] {
            let count = (tokens * slots) as usize;
            let (index, order) = routing(&mut random, count, groups);
            let a = floats(&mut random, (tokens * depth) as usize + 1);
            let b = floats(&mut random, (groups * depth * width) as usize);
            // The slots of a token share its row of a; c may have its axes exchanged.
            let (row, slot, column) = if transposed { (1, tokens * width, tokens) } else { (slots * width, width, 1) };
            let (b_k, b_n) = if transposed { (1, depth) } else { (width, 1) };
            let kernel = GroupedKernel {
                groups,
                positions: vec![RowAxis { size: tokens, a: depth, c: row }, RowAxis { size: slots, a: 0, c: slot }],
                k: DepthAxis { size: depth, a: 1, b: b_k },
                n: ColumnAxis { size: width, b: b_n, c: column },
                group: depth * width,
                offsets: Offsets { a: 1, b: 0, c: 0 },
                types: OperandTypes::default(),
                then: None,
            };
            let mut expected = vec![0.0; count * width as usize];
            for (position, &group) in index.iter().enumerate() {
                let (token, s) = (position as i64 / slots, position as i64 % slots);
                for n in 0..width {
                    let product = |k| {
                        value(&a, 1 + token * depth + k)
                            * value(&b, i64::from(group) * depth * width + k * b_k + n * b_n)
                    };
                    let sum = if group < 0 { 0.0 } else { (0..depth).map(product).sum() };
                    expected[(token * row + s * slot + n * column) as usize] = sum;
                }
            }
            let words = [a, b, order, nans(expected.len())];
            let (one, status) = launch(&Kernel::Grouped(kernel.clone()), &words, 1);
            close(&one[3], &expected, 1e-4, "grouped");
            assert_eq!(status, 0);
            assert!(one == launch(&Kernel::Grouped(kernel), &words, 3).0, "threads");
        }
    }
}

#[test]
fn an_order_spoilt_in_memory_is_reported_and_gives_zeros() {
    let kernel = GroupedKernel {
        groups: 2,
        positions: vec![RowAxis { size: 3, a: 2, c: 2 }],
        k: DepthAxis { size: 2, a: 1, b: 2 },
        n: ColumnAxis { size: 2, b: 1, c: 1 },
        group: 4,
        offsets: Offsets::default(),
        types: OperandTypes::default(),
        then: None,
    };
    let mut random = Random(7);
    let words = [floats(&mut random, 6), floats(&mut random, 8), nans(6), nans(6)];
    let (slots, status) = launch(&Kernel::Grouped(kernel), &words, 1);
    assert_eq!(status, 1);
    assert_eq!(slots[3], [0; 6]);
}

#[test]
fn grouped_into_sums_outer_products_per_group() {
    let mut random = Random(8);
    for (tokens, slots, groups, rows, width) in [(5, 2, 4, 7, 9), (150, 2, 6, 20, 33), (1, 1, 3, 1, 1)] {
        let count = (tokens * slots) as usize;
        let (index, order) = routing(&mut random, count, groups);
        let a = floats(&mut random, (tokens * rows) as usize);
        let b = floats(&mut random, count * width as usize);
        let kernel = GroupedIntoKernel {
            groups,
            positions: vec![
                DepthAxis { size: tokens, a: rows, b: slots * width },
                DepthAxis { size: slots, a: 0, b: width },
            ],
            m: RowAxis { size: rows, a: 1, c: width },
            n: ColumnAxis { size: width, b: 1, c: 1 },
            group: rows * width,
            offsets: Offsets::default(),
            types: OperandTypes::default(),
        };
        let mut expected = vec![0.0; (groups * rows * width) as usize];
        for (position, &group) in index.iter().enumerate().filter(|(_, group)| **group >= 0) {
            let position = position as i64;
            for (m, n) in (0..rows).flat_map(|m| (0..width).map(move |n| (m, n))) {
                expected[((i64::from(group) * rows + m) * width + n) as usize] +=
                    value(&a, position / slots * rows + m) * value(&b, position * width + n);
            }
        }
        let words = [a, b, order, nans(expected.len())];
        let (one, _) = launch(&Kernel::GroupedInto(kernel.clone()), &words, 1);
        close(&one[3], &expected, 1e-3, "grouped into");
        assert!(one == launch(&Kernel::GroupedInto(kernel), &words, 3).0, "threads");
    }
}

#[test]
fn scatter_sums_rows_by_index() {
    let mut random = Random(9);
    for (positions, groups, heads, dim) in [(7, 5, 2, 3), (3000, 40, 2, 16), (0, 3, 1, 2)] {
        let index: Vec<i32> = (0..positions).map(|_| random.below(groups as usize + 1) as i32 - 1).collect();
        let b = floats(&mut random, (positions * heads * dim) as usize);
        let kernel = ScatterKernel {
            groups,
            positions: vec![ScatterAxis { size: positions, b: heads * dim }],
            // c has the two column axes exchanged.
            columns: vec![ColumnAxis { size: heads, b: dim, c: 1 }, ColumnAxis { size: dim, b: 1, c: heads }],
            group: heads * dim,
            offsets: Offsets::default(),
        };
        let mut expected = vec![0.0; (groups * heads * dim) as usize];
        for (position, &group) in index.iter().enumerate().filter(|(_, group)| **group >= 0) {
            for (h, d) in (0..heads).flat_map(|h| (0..dim).map(move |d| (h, d))) {
                expected[(i64::from(group) * heads * dim + h + d * heads) as usize] +=
                    value(&b, (position as i64 * heads + h) * dim + d);
            }
        }
        let words = [b, index.iter().map(|&index| index as u32).collect(), nans(expected.len())];
        let (one, status) = launch(&Kernel::Scatter(kernel.clone()), &words, 1);
        close(&one[2], &expected, 1e-3, "scatter");
        assert_eq!(status, 0);
        assert!(one == launch(&Kernel::Scatter(kernel), &words, 3).0, "threads");
    }
}

#[test]
fn topk_takes_the_largest_with_ties_and_nan_in_their_place() {
    let a = [3.0, f32::NAN, 5.0, 3.0, f32::NEG_INFINITY, 5.0, -0.0, 0.0].map(f32::to_bits);
    for (k, transposed) in [(1, false), (4, false), (8, false), (8, true)] {
        let kernel = TopkKernel {
            rows: vec![RowAxis { size: 1, a: 8, c: 8 }],
            axis: TopkAxis { size: 8, a: 1 },
            slots: TopkSlots { size: k, c: if transposed { 2 } else { 1 } },
            offsets: Offsets::default(),
        };
        let (slots, _) = launch(&Kernel::Topk(kernel), &[a.to_vec(), nans(16)], 1);
        let step = if transposed { 2 } else { 1 };
        let found: Vec<u32> = slots[1].iter().copied().step_by(step).take(k as usize).collect();
        assert_eq!(found, [2, 5, 0, 3, 6, 7, 4, 1][..k as usize]);
    }
    // Many slots are found by sorting, few by insertion: the same.
    let mut random = Random(10);
    let a: Vec<u32> = (0..30 * 100).map(|_| (random.below(20) as f32).to_bits()).collect();
    let run = |k: i64| {
        let kernel = TopkKernel {
            rows: vec![RowAxis { size: 30, a: 100, c: k }],
            axis: TopkAxis { size: 100, a: 1 },
            slots: TopkSlots { size: k, c: 1 },
            offsets: Offsets::default(),
        };
        launch(&Kernel::Topk(kernel), &[a.clone(), nans(30 * k as usize)], 3).0[1].clone()
    };
    let (few, many) = (run(20), run(100));
    for row in 0..30 {
        assert_eq!(few[row * 20..(row + 1) * 20], many[row * 100..row * 100 + 20]);
    }
}

#[test]
fn copies() {
    let words: Vec<u32> = (0..600_000).collect();
    let kernel = Kernel::Copy(CopyKernel { words: 600_000 });
    let (slots, _) = launch(&kernel, &[words.clone(), nans(600_001)], 2);
    assert_eq!(slots[1][..600_000], words);
    assert_eq!(slots[1][600_000], POISON);
}

/// A plan with an arena, an upload and a new buffer: out = copy of (copy of the upload) in the arena.
fn two_copies(poison: bool) -> Plan {
    let copy = |words| Kernel::Copy(CopyKernel { words });
    Plan {
        version: 1,
        arena: vec![1024],
        upload: 8,
        arguments: vec![Argument { bytes: 16, mode: Mode::Out }],
        buffers: vec![
            PlanBuffer::Upload { offset: 0, bytes: 8 },
            PlanBuffer::Arena { chunk: 0, offset: 256, bytes: 16 },
            PlanBuffer::Argument { index: 0, offset: 0, bytes: 16 },
        ],
        kernels: vec![copy(2), copy(4)],
        steps: vec![PlanStep { kernel: 0, buffers: vec![0, 1] }, PlanStep { kernel: 1, buffers: vec![1, 2] }],
        poison,
        timed: false,
    }
}

#[test]
fn a_run_makes_new_buffers_and_poisons_the_arena() {
    let device = Cpu::new(1).unwrap();
    let plan = device.load(two_copies(true)).unwrap();
    let mut handles = [0];
    device.run(plan, &mut handles, &[1, 0, 0, 0, 2, 0, 0, 0]).unwrap();
    assert_ne!(handles[0], 0);
    let mut out = [0_u32; 4];
    device.read(handles[0], 0, bytemuck::cast_slice_mut(&mut out)).unwrap();
    assert_eq!(out, [1, 2, POISON, POISON]);
    assert_eq!(device.used_bytes(), 1024 + 16);
    device.free(handles[0]).unwrap();
    assert_eq!(device.used_bytes(), 1024);
    assert_eq!(device.info()["peakBytes"], 1024 + 16);
}

#[test]
fn wrong_handles_and_lengths_are_errors() {
    let device = Cpu::new(1).unwrap();
    let plan = device.load(two_copies(false)).unwrap();
    let error = |result: Result<()>| result.unwrap_err().0;
    assert!(error(device.run(plan + 9, &mut [0], &[0; 8])).contains("no plan with handle"));
    assert!(error(device.run(plan, &mut [77], &[0; 8])).contains("argument 0: no buffer with handle 77"));
    assert!(error(device.run(plan, &mut [], &[0; 8])).contains("0 arguments, the plan takes 1"));
    assert!(error(device.run(plan, &mut [0], &[0; 7])).contains("7 bytes uploaded, the plan takes 8"));
    let small = device.allocate(12).unwrap();
    assert!(error(device.run(plan, &mut [small], &[0; 8])).contains("12 bytes, the plan needs 16"));
    assert!(error(device.write(small, 8, &[0; 5])).contains("5 bytes from byte 8 on"));
    assert!(error(device.read(small, u64::MAX, &mut [0])).contains("of a buffer that has 12"));
    device.free(small).unwrap();
    assert!(error(device.free(small)).contains("no buffer with handle"));
    device.unload(plan).unwrap();
    assert!(error(device.unload(plan)).contains("no plan with handle"));
    assert!(device.allocate(1 << 60).is_err());
}

#[test]
fn a_written_buffer_is_not_given_twice() {
    let device = Cpu::new(1).unwrap();
    let kernel = Kernel::Copy(CopyKernel { words: 1 });
    let plan = device.load(plan(kernel, &[4, 4])).unwrap();
    let buffer = device.allocate(4).unwrap();
    assert!(device.run(plan, &mut [buffer, buffer], &[]).unwrap_err().0.contains("is another argument too"));
}

#[test]
fn checked_says_which_arguments_are_written() {
    let Checked { written, .. } = plan(Kernel::Copy(CopyKernel { words: 1 }), &[4, 4]).validate().unwrap();
    assert_eq!(written, [false, true]);
}
