//! Rates of the CPU device's kernels: `cargo bench --bench cpu [NAME]`, `XFT_THREADS` for the number of threads.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use xft_native::cpu;
use xft_native::device::Device;
use xft_native::plan::Plan;

type Failure = Box<dyn std::error::Error>;

/// Seconds that this process' threads have computed (Linux): what counts on a machine that others use too.
fn computed() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanoseconds = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() * 1e-9
}

/// Best times of several runs of one kernel over buffers of `words` f32 each, in seconds: (by the clock, computed).
fn time(device: &Arc<dyn Device>, kernel: &Value, words: &[usize]) -> Result<(f64, f64), Failure> {
    let bytes: Vec<usize> = words.iter().map(|words| words * 4).collect();
    let plan = json!({
        "version": 1, "arena": [], "upload": 0,
        "arguments": bytes.iter().map(|bytes| json!({"bytes": bytes, "mode": "in"})).collect::<Vec<_>>(),
        "buffers": bytes.iter().enumerate()
            .map(|(index, bytes)| json!({"at": "argument", "index": index, "bytes": bytes})).collect::<Vec<_>>(),
        "kernels": [kernel],
        "steps": [{"kernel": 0, "buffers": (0..words.len()).collect::<Vec<_>>()}],
    });
    let plan = device.load(Plan::parse(plan.to_string().as_bytes())?)?;
    let mut handles = Vec::new();
    for &words in words {
        let handle = device.allocate(words as u64 * 4)?;
        let values: Vec<f32> = (0..words).map(|i| (i * 7919 % 1013) as f32 / 507.0 - 1.0).collect();
        device.write(handle, 0, bytemuck::cast_slice(&values))?;
        handles.push(handle);
    }
    let mut best = (f64::INFINITY, f64::INFINITY);
    let start = Instant::now();
    for run in 0.. {
        let before = (Instant::now(), computed());
        device.run(plan, &mut handles, &[])?;
        best.0 = before.0.elapsed().as_secs_f64().min(best.0);
        best.1 = (computed() - before.1).min(best.1);
        if run >= 5 && start.elapsed().as_secs_f64() > 1.0 {
            break;
        }
    }
    for handle in handles {
        device.free(handle)?;
    }
    device.unload(plan)?;
    Ok(best)
}

/// Best time of the same product by the crate `gemm`, in seconds.
fn by_gemm(m: usize, n: usize, k: usize, a_transposed: bool, b_transposed: bool) -> f64 {
    let values = |count: usize| -> Vec<f32> { (0..count).map(|i| (i * 7919 % 1013) as f32 / 507.0 - 1.0).collect() };
    let (a, b, mut c) = (values(m * k), values(n * k), vec![0.0_f32; m * n]);
    let (a_m, a_k) = if a_transposed { (1, m) } else { (k, 1) };
    let (b_k, b_n) = if b_transposed { (1, k) } else { (n, 1) };
    let strides = [n, a_k, a_m, b_n, b_k].map(|stride| stride as isize);
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed().as_secs_f64() < 1.0 {
        let before = Instant::now();
        // SAFETY: as many elements as the strides reach.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c.as_mut_ptr(),
                1,
                strides[0],
                false,
                a.as_ptr(),
                strides[1],
                strides[2],
                b.as_ptr(),
                strides[3],
                strides[4],
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::Rayon(0),
            );
        }
        best = before.elapsed().as_secs_f64().min(best);
    }
    best
}

/// `b_transposed`: b lies as [n, k]; `a_transposed`: a lies as [k, m].
fn product(m: usize, n: usize, k: usize, a_transposed: bool, b_transposed: bool) -> (Value, [usize; 3]) {
    let (a_m, a_k) = if a_transposed { (1, m) } else { (k, 1) };
    let (b_k, b_n) = if b_transposed { (1, k) } else { (n, 1) };
    let kernel = json!({
        "kind": "contract", "batch": [],
        "m": {"size": m, "a": a_m, "c": n}, "n": {"size": n, "b": b_n, "c": 1},
        "k": [{"size": k, "a": a_k, "b": b_k}], "offsets": {"a": 0, "b": 0, "c": 0},
    });
    (kernel, [m * k, n * k, m * n])
}

fn load(slot: usize, strides: &[usize]) -> Value {
    json!({"op": "load", "type": "f32", "access": {"slot": slot, "dtype": "f32", "offset": 0, "strides": strides}})
}

fn store(slot: usize, strides: &[usize], a: usize) -> Value {
    let access = json!({"slot": slot, "dtype": "f32", "offset": 0, "strides": strides});
    json!({"op": "store", "type": "f32", "access": access, "a": a})
}

fn unary(op: &str, a: usize) -> Value {
    json!({"op": op, "type": "f32", "a": a})
}

fn binary(op: &str, a: usize, b: usize) -> Value {
    json!({"op": op, "type": "f32", "a": a, "b": b})
}

/// z = silu(x) · y
fn gate(elements: usize) -> Value {
    json!({
        "kind": "loop", "sizes": [elements], "outer": 1, "lanes": "outer",
        "body": [
            load(0, &[1]), unary("neg", 0), unary("exp", 1), {"op": "const", "type": "f32", "bits": 1.0_f32.to_bits()},
            binary("add", 2, 3), unary("recip", 4), binary("mul", 0, 5), load(1, &[1]), binary("mul", 6, 7),
            store(2, &[1], 8),
        ],
        "stages": [{"level": "outer", "registers": (0..10).collect::<Vec<_>>()}],
    })
}

fn softmax(rows: usize, columns: usize) -> Value {
    json!({
        "kind": "loop", "sizes": [rows, columns], "outer": 1, "lanes": "inner",
        "body": [
            load(0, &[columns, 1]), {"op": "reduce", "type": "f32", "by": "max", "a": 0}, binary("sub", 0, 1),
            unary("exp", 2), {"op": "reduce", "type": "f32", "by": "sum", "a": 3}, unary("recip", 4),
            binary("mul", 3, 5), store(1, &[columns, 1], 6),
        ],
        "stages": [
            {"level": "inner", "registers": [0, 1]}, {"level": "inner", "registers": [0, 2, 3, 4]},
            {"level": "outer", "registers": [5]}, {"level": "inner", "registers": [0, 2, 3, 6, 7]},
        ],
    })
}

/// Sums over rows (lanes are the columns), or over everything.
fn sum(rows: usize, columns: usize, everything: bool) -> Value {
    let (sizes, outer, x, y) = if everything {
        ([rows, columns], 0, [columns, 1], [0, 0])
    } else {
        ([columns, rows], 1, [1, columns], [1, 0])
    };
    json!({
        "kind": "loop", "sizes": sizes, "outer": outer, "lanes": if everything { "inner" } else { "outer" },
        "body": [load(0, &x), {"op": "reduce", "type": "f32", "by": "sum", "a": 0}, store(1, &y, 1)],
        "stages": [{"level": "inner", "registers": [0, 1]}, {"level": "outer", "registers": [2]}],
    })
}

/// [rows, columns] to [columns, rows].
fn transpose(rows: usize, columns: usize) -> Value {
    json!({
        "kind": "loop", "sizes": [rows, columns], "outer": 2, "lanes": "outer",
        "body": [load(0, &[1, rows]), store(1, &[columns, 1], 0)],
        "stages": [{"level": "outer", "registers": [0, 1]}],
    })
}

/// The gate by hand, on one thread's share of the work each.
fn gate_by_hand(x: &[f32], y: &[f32], z: &mut [f32]) {
    let half = z.len() / 2;
    let run = |x: &[f32], y: &[f32], z: &mut [f32]| {
        for ((z, x), y) in z.iter_mut().zip(x).zip(y) {
            *z = x / (1.0 + (-x).exp()) * y;
        }
    };
    let (low, high) = z.split_at_mut(half);
    rayon::join(|| run(&x[..half], &y[..half], low), || run(&x[half..], &y[half..], high));
}

fn main() -> Result<(), Failure> {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let device = cpu::open()?;
    let report = |name: String, kernel: Value, words: &[usize], amount: f64, unit: &str| -> Result<(), Failure> {
        if name.contains(&wanted) {
            let (seconds, work) = time(&device, &kernel, words)?;
            let rate = amount / seconds * 1e-9;
            println!("{name:44} {:9.3} ms {rate:8.2} {unit:8} {:9.3} ms computed", seconds * 1e3, work * 1e3);
        }
        Ok(())
    };
    for (m, n, k) in
        [(512, 1536, 576), (512, 576, 1536), (2048, 1376, 512), (1024, 1024, 1024), (64, 576, 576), (32, 1536, 576)]
    {
        for (a, b, kind) in [(false, true, "X·Wᵀ"), (false, false, "X·W"), (true, false, "Xᵀ·Y")] {
            let (kernel, words) = product(m, n, k, a, b);
            let (name, work) = (format!("product {kind} {m}×{n}, k {k}"), 2.0 * (m * n * k) as f64);
            if name.contains(&wanted) {
                println!("{:44} {:22.2} GFLOP/s by gemm", "", work / by_gemm(m, n, k, a, b) * 1e-9);
            }
            report(name, kernel, &words, work, "GFLOP/s")?;
        }
    }
    for m in [1, 2, 4, 8, 16, 24] {
        for (transposed, kind) in [(true, "[n, k]"), (false, "[k, n]")] {
            // 113 MB of weights: they come from memory each time.
            let (kernel, words) = product(m, 49_152, 576, false, transposed);
            report(
                format!("few rows: {m} × weights {kind} 49152, 576"),
                kernel,
                &words,
                4.0 * words[1] as f64,
                "GB/s",
            )?;
        }
    }
    for m in [1, 8] {
        for (transposed, kind) in [(true, "[n, k]"), (false, "[k, n]")] {
            let (kernel, words) = product(m, 1536, 576, false, transposed);
            report(format!("few rows: {m} × weights {kind} 1536, 576"), kernel, &words, 4.0 * words[1] as f64, "GB/s")?;
        }
    }
    let elements = 1 << 24;
    report("silu(x)·y 16 M".to_owned(), gate(elements), &[elements; 3], 12.0 * elements as f64, "GB/s")?;
    report("silu(x)·y 64 K".to_owned(), gate(1 << 16), &[1 << 16; 3], 12.0 * 65536.0, "GB/s")?;
    if "by hand".contains(&wanted) {
        let (x, y, mut z) = (vec![0.5; elements], vec![0.25; elements], vec![0.0; elements]);
        gate_by_hand(&x, &y, &mut z);
        let start = Instant::now();
        gate_by_hand(&x, &y, &mut z);
        println!("silu(x)·y 16 M, scalar libm exp, by hand: {:.3} ms", start.elapsed().as_secs_f64() * 1e3);
    }
    report("softmax 1024×1024".to_owned(), softmax(1024, 1024), &[1 << 20; 2], 8.0 * 1048576.0, "GB/s")?;
    report("softmax 8192×64".to_owned(), softmax(8192, 64), &[1 << 19; 2], 8.0 * 524288.0, "GB/s")?;
    report("sum 4 M".to_owned(), sum(2048, 2048, true), &[1 << 22, 1], 4.0 * 4194304.0, "GB/s")?;
    report("sum over 2048 rows of 576".to_owned(), sum(2048, 576, false), &[2048 * 576, 576], 4.0 * 1179648.0, "GB/s")?;
    report("transpose 2048×2048".to_owned(), transpose(2048, 2048), &[1 << 22; 2], 8.0 * 4194304.0, "GB/s")?;
    Ok(())
}
