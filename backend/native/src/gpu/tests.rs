//! Tests of the wgpu device. They say nothing where there is no adapter; the shaders' own tests are in TypeScript.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::device::Device;
use crate::plan::Plan;

fn device() -> Option<Arc<dyn Device>> {
    let device = super::open(None);
    if let Err(error) = &device {
        eprintln!("skipped: {error}");
    }
    device.ok()
}

/// c = a + 1 over 64 words.
const NEXT: &str = "@group(0) @binding(0) var<storage, read_write> a: array<u32>;
@group(0) @binding(1) var<storage, read_write> c: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) { c[i] = a[i] + 1u; }";

/// Reports if the first word is not 7.
const SEVEN: &str = "@group(0) @binding(0) var<storage, read_write> a: array<u32>;
@group(0) @binding(1) var<storage, read_write> status: atomic<u32>;
@compute @workgroup_size(1) fn main() { if (a[0] != 7u) { atomicOr(&status, 0x80000000u); } }";

fn plan(value: Value) -> Plan {
    let mut whole =
        json!({ "version": 1, "arena": [], "upload": 0, "arguments": [], "buffers": [], "kernels": [], "steps": [] });
    for (key, part) in value.as_object().unwrap() {
        whole[key] = part.clone();
    }
    Plan::parse(whole.to_string().as_bytes()).unwrap()
}

fn shader(code: &str, status: bool) -> Value {
    json!({ "kind": "wgsl", "code": code, "workgroups": [1, 1, 1], "status": status })
}

fn arguments(count: usize) -> (Value, Value) {
    let arguments = (0..count).map(|at| json!({ "bytes": 256, "mode": if at == 0 { "in" } else { "out" } }));
    let buffers = (0..count).map(|index| json!({ "at": "argument", "index": index, "bytes": 256 }));
    (arguments.collect(), buffers.collect())
}

/// Adds one, from the first argument to the second.
fn next_plan() -> Plan {
    let (arguments, buffers) = arguments(2);
    let steps = json!([{ "kernel": 0, "buffers": [0, 1] }]);
    plan(json!({ "arguments": arguments, "buffers": buffers, "kernels": [shader(NEXT, false)], "steps": steps }))
}

fn words(device: &dyn Device, buffer: u64) -> Vec<u32> {
    let mut bytes = [0; 256];
    device.read(buffer, 0, &mut bytes).unwrap();
    bytemuck::pod_collect_to_vec(&bytes)
}

#[test]
fn buffers_start_with_zeros_and_keep_any_bytes() {
    let Some(device) = device() else { return };
    let before = device.used_bytes();
    let buffer = device.allocate(11).unwrap();
    let mut all = [9; 11];
    device.read(buffer, 0, &mut all).unwrap();
    assert_eq!(all, [0; 11]);
    device.write(buffer, 3, &[1, 2, 3, 4, 5, 6]).unwrap();
    device.write(buffer, 10, &[7]).unwrap();
    device.read(buffer, 0, &mut all).unwrap();
    assert_eq!(all, [0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 7]);
    assert!(device.write(buffer, 8, &[0; 4]).unwrap_err().0.contains("which has 11"));
    assert!(device.read(buffer, u64::MAX, &mut all).is_err());
    device.free(buffer).unwrap();
    assert_eq!(device.used_bytes(), before);
    assert!(device.free(buffer).is_err());
    assert!(device.read(buffer, 0, &mut all).is_err());
    let empty = device.allocate(0).unwrap();
    device.write(empty, 0, &[]).unwrap();
    device.free(empty).unwrap();
}

#[test]
fn a_result_gets_a_new_buffer_or_its_arguments() {
    let Some(device) = device() else { return };
    let plan = device.load(next_plan()).unwrap();
    let from = device.allocate(256).unwrap();
    let mut handles = [from, 0];
    device.run(plan, &mut handles, &[]).unwrap();
    assert_ne!(handles[1], 0);
    assert_eq!(words(&*device, handles[1]), [1; 64]);
    assert_eq!(words(&*device, from), [0; 64]);
    // Donation: the same buffer under two bindings.
    let mut donated = [from, from];
    for _ in 0..3 {
        device.run(plan, &mut donated, &[]).unwrap();
    }
    assert_eq!(words(&*device, from), [3; 64]);
    device.free(handles[1]).unwrap();
    assert!(device.run(plan, &mut handles, &[]).unwrap_err().0.contains("argument 1"));
    assert!(device.run(plan, &mut [from], &[]).is_err());
    assert!(device.run(plan, &mut [from, from], &[0]).is_err());
    device.unload(plan).unwrap();
    assert!(device.run(plan, &mut donated, &[]).is_err());
}

#[test]
fn uploads_and_copies_go_through_the_arena_and_poison_is_nan() {
    let Some(device) = device() else { return };
    let (arguments, mut buffers) = arguments(2);
    let more = [
        json!({ "at": "arena", "chunk": 0, "offset": 0, "bytes": 256 }),
        json!({ "at": "arena", "chunk": 0, "offset": 512, "bytes": 256 }),
        json!({ "at": "upload", "offset": 0, "bytes": 256 }),
    ];
    buffers.as_array_mut().unwrap().extend(more);
    let copy = json!({ "kind": "copy", "words": 64 });
    let steps = json!([
        { "kernel": 1, "buffers": [4, 2] }, { "kernel": 0, "buffers": [2, 0] }, { "kernel": 1, "buffers": [3, 1] },
    ]);
    let kernels = json!([shader(NEXT, false), copy]);
    let plan = plan(json!({
        "arguments": arguments, "buffers": buffers, "kernels": kernels, "steps": steps,
        "arena": [768], "upload": 256, "poison": true,
    }));
    let plan = device.load(plan).unwrap();
    let mut handles = [device.allocate(256).unwrap(), 0];
    device.run(plan, &mut handles, &[2; 256]).unwrap();
    assert_eq!(words(&*device, handles[0]), [0x0202_0203; 64]);
    assert_eq!(words(&*device, handles[1]), [0x7fff_7fff; 64]);
    // A larger arena for another plan leaves the first one working.
    let larger = json!({ "arena": [1 << 20] });
    device.load(self::plan(larger)).unwrap();
    device.run(plan, &mut handles, &[4; 256]).unwrap();
    assert_eq!(words(&*device, handles[0]), [0x0404_0405; 64]);
}

#[test]
fn status_is_the_first_step_that_reports() {
    let Some(device) = device() else { return };
    let (arguments, buffers) = arguments(1);
    let steps = json!([
        { "kernel": 1, "buffers": [0, 0] }, { "kernel": 0, "buffers": [0] },
        { "kernel": 1, "buffers": [0, 0] }, { "kernel": 0, "buffers": [0] }, { "kernel": 0, "buffers": [0] },
    ]);
    let kernels = json!([shader(SEVEN, true), shader(NEXT, false)]);
    let plan = plan(json!({ "arguments": arguments, "buffers": buffers, "kernels": kernels, "steps": steps }));
    let plan = device.load(plan).unwrap();
    let buffer = device.allocate(256).unwrap();
    device.write(buffer, 0, &6_u32.to_ne_bytes()).unwrap();
    assert_eq!(device.status().unwrap(), 0);
    device.run(plan, &mut [buffer], &[]).unwrap();
    // The word was 7 in step 1 and 8 in steps 3 and 4.
    assert_eq!(device.status().unwrap(), 4);
    assert_eq!(device.status().unwrap(), 0);
    device.write(buffer, 0, &0_u32.to_ne_bytes()).unwrap();
    device.run(plan, &mut [buffer], &[]).unwrap();
    assert_eq!(device.status().unwrap(), 2);
}

#[test]
fn many_steps_run_in_order() {
    let Some(device) = device() else { return };
    let (arguments, buffers) = arguments(1);
    let steps = (0..1000).map(|_| json!({ "kernel": 0, "buffers": [0, 0] })).collect::<Value>();
    let plan =
        plan(json!({ "arguments": arguments, "buffers": buffers, "kernels": [shader(NEXT, false)], "steps": steps }));
    let plan = device.load(plan).unwrap();
    let mut handles = [device.allocate(256).unwrap()];
    for _ in 0..5 {
        device.run(plan, &mut handles, &[]).unwrap();
    }
    assert_eq!(words(&*device, handles[0]), [5000; 64]);
}

/// Adds 1 to every word, again and again: long enough for several slices.
const LONG: &str = "@group(0) @binding(0) var<storage, read_write> a: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {
  for (var k = 0u; k < 100000u; k++) { a[i] = a[i] * 3u + k; }
}";

#[test]
fn a_run_is_cut_into_slices_and_can_be_cancelled() {
    let Some(device) = device() else { return };
    let (arguments, buffers) = arguments(1);
    let run = |count: usize, work: f64| {
        let mut kernel = shader(LONG, false);
        kernel["work"] = work.into();
        let steps = (0..count).map(|_| json!({ "kernel": 0, "buffers": [0] })).collect::<Value>();
        let whole = json!({ "arguments": arguments, "buffers": buffers, "kernels": [kernel], "steps": steps });
        let handle = device.allocate(256).unwrap();
        let plan = device.load(plan(whole)).unwrap();
        (plan, handle)
    };
    // However a run is cut, its result is the same.
    let [whole, cut] = [0.0, 1e12].map(|work| {
        let (plan, handle) = run(20, work);
        device.run(plan, &mut [handle], &[]).unwrap();
        words(&*device, handle)
    });
    assert_eq!(whole, cut);
    assert_ne!(whole[0], 0);
    // A run so long that no test would wait for its end.
    let (plan, handle) = run(1_000_000, 1e12);
    let running = Arc::clone(&device);
    let thread = std::thread::spawn(move || running.run(plan, &mut [handle], &[]));
    device.cancel();
    assert!(thread.join().unwrap().unwrap_err().0.contains("cancelled"));
    // What was computed before can still be read.
    words(&*device, handle);
}

#[test]
fn bad_plans_are_refused_with_a_sentence() {
    let Some(device) = device() else { return };
    let (arguments, buffers) = arguments(2);
    let load = |kernel: Value, bindings: Value| {
        let steps = json!([{ "kernel": 0, "buffers": bindings }]);
        let whole = json!({ "arguments": arguments, "buffers": buffers, "kernels": [kernel], "steps": steps });
        device.load(plan(whole)).unwrap_err().0
    };
    let order = json!({ "kind": "order", "groups": 2, "positions": 4 });
    assert!(load(order, json!([0, 1])).contains("not a shader"));
    assert!(load(shader("fn main() -> {", false), json!([0, 1])).contains("does not compile"));
    // A shader that binds more than the step has.
    assert!(load(shader(NEXT, false), json!([0])).contains("does not compile"));
    let wide = json!({ "kind": "wgsl", "code": NEXT, "workgroups": [1_000_000, 1, 1], "status": false });
    assert!(load(wide, json!([0, 1])).contains("workgroups"));
    // The device lives on.
    let good = device.load(next_plan()).unwrap();
    device.run(good, &mut [device.allocate(256).unwrap(), 0], &[]).unwrap();
}

#[test]
fn a_buffer_larger_than_the_adapter_allows_is_an_error() {
    let Some(device) = device() else { return };
    assert!(device.allocate(1 << 60).is_err());
    assert!(device.allocate(u64::MAX).is_err());
}

#[test]
fn adapters_are_found_by_a_part_of_their_name() {
    let adapters = super::adapters();
    let Some(first) = adapters.first() else { return };
    let name = first["name"].as_str().unwrap();
    assert!(super::open(Some(&name[..name.len().min(4)].to_uppercase())).is_ok());
    assert!(super::open(Some("no such adapter")).err().unwrap().0.contains(name));
}

#[test]
fn a_timed_plan_measures_every_step_and_computes_the_same() {
    let Some(device) = device() else { return };
    let (arguments, buffers) = arguments(2);
    // More steps than one submission has.
    let steps = (0..600).map(|_| json!({ "kernel": 0, "buffers": [1, 1] })).collect::<Value>();
    let whole = |timed: bool| {
        plan(json!({
            "arguments": arguments, "buffers": buffers, "kernels": [shader(NEXT, false)], "steps": steps,
            "timed": timed,
        }))
    };
    let (timed, plain) = (device.load(whole(true)).unwrap(), device.load(whole(false)).unwrap());
    let mut handles = [device.allocate(256).unwrap(), device.allocate(256).unwrap()];
    device.run(timed, &mut handles, &[]).unwrap();
    assert_eq!(words(&*device, handles[1]), [600; 64]);
    device.run(plain, &mut handles, &[]).unwrap();
    assert_eq!(words(&*device, handles[1]), [1200; 64]);
    assert!(device.profile(plain).unwrap().is_empty());
    let spent = device.profile(timed).unwrap();
    if device.info()["timestamps"] == true {
        assert_eq!(spent.len(), 600);
        assert!(spent.iter().sum::<u64>() > 0);
    } else {
        assert!(spent.is_empty());
    }
    assert!(device.profile(timed + 7).is_err());
}
