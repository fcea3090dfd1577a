//! Contractions against plain loops: shapes, layouts, storage, what stands behind them, and threads.

use crate::cpu::tests::{Random, close, floats, launch, nans, value};
use crate::plan::{
    Access, Affine, BatchAxis, Binary, ColumnAxis, ContractKernel, DepthAxis, Instruction, Kernel, Lanes, Level,
    LoopKernel, Offsets, OperandTypes, RegisterType, RowAxis, Stage, StorageType, Then,
};

/// One random layout of a contraction: which operand's which axis is contiguous, several axes of batch and k.
fn random_contract(random: &mut Random, sizes: [i64; 3], batch: &[i64], depth: &[i64]) -> ContractKernel {
    let [m, n, last] = sizes;
    let depth: Vec<i64> = depth.iter().copied().chain([last]).collect();
    let mut layout = |axes: &[i64]| {
        let mut order: Vec<usize> = (0..axes.len()).collect();
        if random.below(2) == 0 {
            random.shuffle(&mut order);
        }
        let mut strides = vec![0; axes.len()];
        let mut extent = 1;
        for axis in order.into_iter().rev() {
            strides[axis] = extent;
            extent *= axes[axis];
        }
        strides
    };
    let a = layout(&[batch, &[m], &depth].concat());
    let b = layout(&[batch, &depth, &[n]].concat());
    let c = layout(&[batch, &[m, n]].concat());
    let count = batch.len();
    let batch = batch.iter().enumerate().map(|(i, &size)| BatchAxis { size, a: a[i], b: b[i], c: c[i] }).collect();
    let k =
        depth.iter().enumerate().map(|(i, &size)| DepthAxis { size, a: a[count + 1 + i], b: b[count + i] }).collect();
    ContractKernel {
        batch,
        m: RowAxis { size: m, a: a[count], c: c[count] },
        n: ColumnAxis { size: n, b: b[count + depth.len()], c: c[count + 1] },
        k,
        offsets: Offsets { a: 3, b: 5, c: 2 },
        accumulate: false,
        types: OperandTypes::default(),
        then: None,
    }
}

fn contract(kernel: &ContractKernel, a: &[u32], b: &[u32], c_length: usize) -> Vec<f64> {
    let mut c = vec![f64::NAN; c_length];
    let batches: i64 = kernel.batch.iter().map(|axis| axis.size).product();
    let depth: i64 = kernel.k.iter().map(|axis| axis.size).product();
    for batch in 0..batches {
        let (mut start, mut rest) = ([kernel.offsets.a, kernel.offsets.b, kernel.offsets.c], batch);
        for axis in kernel.batch.iter().rev() {
            let index = rest % axis.size;
            rest /= axis.size;
            start = [start[0] + axis.a * index, start[1] + axis.b * index, start[2] + axis.c * index];
        }
        for (m, n) in (0..kernel.m.size).flat_map(|m| (0..kernel.n.size).map(move |n| (m, n))) {
            let mut sum = 0.0;
            for k in 0..depth {
                let (mut at, mut bt, mut rest) = (start[0] + kernel.m.a * m, start[1] + kernel.n.b * n, k);
                for axis in kernel.k.iter().rev() {
                    let index = rest % axis.size;
                    rest /= axis.size;
                    (at, bt) = (at + axis.a * index, bt + axis.b * index);
                }
                sum += value(a, at) * value(b, bt);
            }
            c[usize::try_from(start[2] + kernel.m.c * m + kernel.n.c * n).unwrap()] = sum;
        }
    }
    c
}

#[test]
fn contractions_of_every_shape_and_layout() {
    let mut random = Random(4);
    for case in 0..120 {
        let pick = |random: &mut Random, choices: &[i64]| choices[random.below(choices.len())];
        let sizes = [
            pick(&mut random, &[1, 2, 3, 5, 16, 17, 64]),
            pick(&mut random, &[1, 3, 8, 33, 130]),
            pick(&mut random, &[1, 2, 3, 9, 40, 70]),
        ];
        let batch: &[i64] = [&[][..], &[3], &[2, 3], &[40]][case % 4];
        let depth: &[i64] = [&[][..], &[], &[3], &[2, 2], &[0]][case % 5];
        let kernel = random_contract(&mut random, sizes, batch, depth);
        let elements = |axes: &[i64]| axes.iter().product::<i64>() as usize;
        let k = elements(depth) * sizes[2] as usize;
        let a = floats(&mut random, 3 + elements(batch) * sizes[0] as usize * k);
        let b = floats(&mut random, 5 + elements(batch) * sizes[1] as usize * k);
        let c_length = 2 + elements(batch) * (sizes[0] * sizes[1]) as usize;
        let expected = contract(&kernel, &a, &b, c_length);
        let (slots, _) = launch(&Kernel::Contract(kernel.clone()), &[a, b, nans(c_length)], 2);
        close(&slots[2], &expected, 1e-5 * (k as f64 + 1.0).sqrt() * 10.0, &format!("{kernel:?}"));
    }
}

#[test]
fn products_widen_16_bit_operands() {
    let mut random = Random(6);
    for case in 0..40 {
        let sizes = [[5, 20, 40], [30, 33, 9], [100, 70, 330], [1, 64, 64]][case % 4];
        let kernel = random_contract(&mut random, sizes, &[], &[]);
        let [a, b] = [3 + sizes[0] * sizes[2], 5 + sizes[1] * sizes[2]].map(|count| {
            let wide = floats(&mut random, count as usize + 1);
            wide.into_iter().map(|bits| bits & 0xffff_0000).collect::<Vec<_>>()
        });
        let c_length = 2 + (sizes[0] * sizes[1]) as usize;
        let expected = contract(&kernel, &a, &b, c_length);
        let narrow = |wide: &[u32]| wide.chunks(2).map(|pair| pair[0] >> 16 | pair.get(1).unwrap_or(&0)).collect();
        let bf16 = Some(StorageType::Bf16);
        let types =
            [OperandTypes { a: bf16, b: bf16 }, OperandTypes { a: bf16, b: None }, OperandTypes { a: None, b: bf16 }]
                [case % 3];
        let kernel = ContractKernel { types, ..kernel };
        let a = if types.a.is_some() { narrow(&a) } else { a };
        let b = if types.b.is_some() { narrow(&b) } else { b };
        let (slots, _) = launch(&Kernel::Contract(kernel.clone()), &[a, b, nans(c_length)], 2);
        close(&slots[2], &expected, 1e-5 * (sizes[2] as f64 + 1.0).sqrt() * 10.0, &format!("{kernel:?}"));
    }
}

/// Twice the product's element plus slot 0, into slot 1.
fn doubled(sizes: [i64; 2], row: i64, stored: bool) -> Then {
    let access = |slot: usize, strides: [i64; 2]| Access {
        affine: Affine { offset: 0, strides: strides.to_vec() },
        slot,
        dtype: StorageType::F32,
        guards: vec![],
        gather: None,
    };
    let dense = [sizes[1], 1];
    let kind = RegisterType::F32;
    let body = vec![
        Instruction::Load { kind, access: access(2, if stored { [row, 1] } else { dense }) },
        Instruction::Load { kind, access: access(0, dense) },
        Instruction::Binary { op: Binary::Add, kind, a: 0, b: 0 },
        Instruction::Binary { op: Binary::Add, kind, a: 2, b: 1 },
        Instruction::Store { kind, access: access(1, dense), a: 3 },
    ];
    let stages = vec![Stage { level: Level::Outer, registers: (0..5).collect() }];
    let body = LoopKernel { sizes: sizes.to_vec(), outer: 2, lanes: Lanes::Outer, body, stages };
    Then { body, axes: 1, slot: 2, stored }
}

#[test]
fn a_products_rows_go_on_through_a_loop() {
    let mut random = Random(7);
    for case in 0..24 {
        let [m, n, depth] = [[5, 40, 20], [130, 33, 70], [700, 60, 9], [1, 500, 64]][case % 4];
        let (stored, threads) = (case % 3 == 0, 1 + case % 2);
        let kernel = ContractKernel {
            m: RowAxis { size: m, a: depth, c: n },
            n: ColumnAxis { size: n, b: 1, c: 1 },
            k: vec![DepthAxis { size: depth, a: 1, b: n }],
            offsets: Offsets::default(),
            ..random_contract(&mut random, [m, n, depth], &[], &[])
        };
        let a = floats(&mut random, (m * depth) as usize);
        let b = floats(&mut random, (n * depth) as usize);
        let more = floats(&mut random, (m * n) as usize);
        let product = contract(&kernel, &a, &b, (m * n) as usize);
        let expected: Vec<f64> = (0..m * n).map(|i| 2.0 * product[i as usize] + value(&more, i)).collect();
        let kernel = ContractKernel { then: Some(Box::new(doubled([m, n], n, stored))), ..kernel };
        let mut slots = vec![a, b, more, nans((m * n) as usize)];
        if stored {
            slots.push(nans((m * n) as usize));
        }
        let (slots, _) = launch(&Kernel::Contract(kernel), &slots, threads);
        close(&slots[3], &expected, 1e-3, &format!("{m} × {n} × {depth}"));
        if stored {
            close(&slots[4], &product, 1e-3, "the product itself");
        }
    }
}

#[test]
fn contractions_have_the_same_bits_with_any_number_of_threads() {
    let mut random = Random(5);
    let shapes = [
        ([300, 500, 700], &[][..]),
        ([1, 3000, 900], &[]),
        ([5, 3000, 300], &[]),
        ([16, 2000, 300], &[]),
        ([40, 70, 90], &[6]),
        ([512, 576, 1536], &[]),
        ([64, 64, 5000], &[2]),
    ];
    for (sizes, batch) in shapes {
        for _ in 0..3 {
            let kernel = random_contract(&mut random, sizes, batch, &[]);
            let elements: i64 = batch.iter().product();
            let a = floats(&mut random, (3 + elements * sizes[0] * sizes[2]) as usize);
            let b = floats(&mut random, (5 + elements * sizes[1] * sizes[2]) as usize);
            let c = nans((2 + elements * sizes[0] * sizes[1]) as usize);
            let slots = [a, b, c];
            let results = [1, 2, 3].map(|threads| launch(&Kernel::Contract(kernel.clone()), &slots, threads).0);
            assert!(results[0] == results[1] && results[0] == results[2], "{kernel:?}");
        }
    }
}
