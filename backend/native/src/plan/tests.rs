//! Parsing, and plans that validation must refuse.

use serde_json::{Value, json};

use super::{Binding, Kernel, Plan};

/// y[i, j] = x[i, j] · Σ x[i, ·] for a 3 × 5 x, then c = xᵀ · y.
fn good() -> Value {
    let access = |slot: usize| json!({"slot": slot, "dtype": "f32", "offset": 0, "strides": [5, 1]});
    json!({
        "version": 1, "arena": [512], "upload": 60,
        "arguments": [{"bytes": 100, "mode": "out"}],
        "buffers": [
            {"at": "upload", "offset": 0, "bytes": 60},
            {"at": "arena", "chunk": 0, "offset": 256, "bytes": 60},
            {"at": "argument", "index": 0, "bytes": 100},
        ],
        "kernels": [
            {
                "kind": "loop", "sizes": [3, 5], "outer": 1, "lanes": "inner",
                "body": [
                    {"op": "load", "type": "f32", "access": access(0)},
                    {"op": "reduce", "type": "f32", "by": "sum", "a": 0},
                    {"op": "mul", "type": "f32", "a": 0, "b": 1},
                    {"op": "store", "type": "f32", "access": access(1), "a": 2},
                ],
                "stages": [{"level": "inner", "registers": [0, 1]}, {"level": "inner", "registers": [0, 2, 3]}],
            },
            {
                "kind": "contract", "batch": [], "m": {"size": 5, "a": 1, "c": 5}, "n": {"size": 5, "b": 1, "c": 1},
                "k": [{"size": 3, "a": 5, "b": 5}], "offsets": {"a": 0, "b": 0, "c": 0},
            },
        ],
        "steps": [{"kernel": 0, "buffers": [0, 1]}, {"kernel": 1, "buffers": [0, 1, 2]}],
    })
}

fn verdict(plan: &Value) -> Result<(), String> {
    let plan = Plan::parse(plan.to_string().as_bytes()).map_err(|error| error.0)?;
    plan.validate().map(drop).map_err(|error| error.0)
}

/// The plan with the value at a JSON pointer replaced.
fn with(pointer: &str, value: Value) -> Value {
    let mut plan = good();
    *plan.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    plan
}

#[test]
fn a_good_plan_passes() {
    assert_eq!(verdict(&good()), Ok(()));
    let plan = Plan::parse(good().to_string().as_bytes()).unwrap();
    assert_eq!(plan.validate().unwrap().written, [true]);
    let bindings = plan.kernels[1].bindings().unwrap();
    let read = Binding { bytes: 60, read: true, written: false };
    assert_eq!(bindings, [read, read, Binding { bytes: 100, read: false, written: true }]);
}

#[test]
fn a_plan_that_leaves_its_buffers_is_refused() {
    let cases = [
        ("/buffers/1/offset", json!(258), "buffer 1: offset 258 is not a multiple of 4"),
        ("/buffers/1/bytes", json!(300), "buffer 1: 300 bytes at 256 of chunk 0, which has 512"),
        ("/buffers/1/offset", json!(18_446_744_073_709_551_360_u64), "buffer 1: 60 bytes at"),
        ("/buffers/1/chunk", json!(1), "buffer 1: there is no arena chunk 1"),
        ("/buffers/2/index", json!(1), "buffer 2: there is no argument 1"),
        (
            "/buffers/2",
            json!({"at": "argument", "index": 0, "offset": 4, "bytes": 100}),
            "buffer 2: 100 bytes at 4 of argument 0, which has 100",
        ),
        ("/buffers/2/bytes", json!(104), "buffer 2: 104 bytes at 0 of argument 0, which has 100"),
        ("/buffers/0/bytes", json!(64), "buffer 0: 64 bytes at 0 of 60 uploaded"),
        ("/buffers/0/bytes", json!(56), "step 0: kernel 0 reaches byte 60 of slot 0, buffer 0 has 56"),
        ("/kernels/0/sizes", json!([4, 5]), "step 0: kernel 0 reaches byte 80 of slot 0"),
        ("/kernels/0/body/0/access/offset", json!(-1), "kernel 0: an access to slot 0 reaches down to element -1"),
        ("/kernels/0/body/0/access/offset", json!(1_i64 << 62), "kernel 0: an address is too large"),
        (
            "/kernels/0/body/0/access/gather",
            json!({"register": 0, "stride": 1, "size": 2}),
            "register 0, which comes later",
        ),
        ("/kernels/1/offsets/b", json!(1), "step 1: kernel 1 reaches byte 64 of slot 1"),
        ("/kernels/1/k/0/size", json!(-3), "kernel 1: a size is negative (-3)"),
        ("/kernels/1/m/c", json!(4), "kernel 1: two indices write the same element"),
        ("/kernels/1/k", json!([]), "kernel 1: k has no axis"),
        ("/steps/1/buffers", json!([0, 1]), "step 1: kernel 1 has 3 slots, the step has 2 buffers"),
        ("/steps/1/buffers/0", json!(9), "step 1: there is no buffer 9"),
        ("/steps/1/buffers", json!([2, 1, 2]), "slot 2 of kernel 1 is written and overlaps slot 0"),
        ("/steps/0/buffers", json!([0, 0]), "step 0: slot 1 writes to the upload"),
        ("/steps/0/kernel", json!(2), "step 0: there is no kernel 2"),
    ];
    for (pointer, value, expected) in cases {
        let plan = if pointer.ends_with("/gather") {
            let mut plan = good();
            plan["kernels"][0]["body"][0]["access"]["gather"] = value;
            plan
        } else {
            with(pointer, value)
        };
        let sentence = verdict(&plan).expect_err(pointer);
        assert!(sentence.starts_with("plan: ") && sentence.contains(expected), "{pointer}: {sentence}");
    }
}

#[test]
fn a_loop_that_makes_no_sense_is_refused() {
    let stage = |level: &str, registers: &[usize]| json!({"level": level, "registers": registers});
    let cases = [
        ("/stages", json!([stage("inner", &[1])]), "register 1 uses register 0, which is not computed there"),
        ("/stages", json!([stage("inner", &[0, 1, 2, 3])]), "register 2 uses register 1, which is not computed there"),
        ("/stages", json!([stage("inner", &[0, 1]), stage("inner", &[2, 3])]), "register 2 uses register 0"),
        ("/stages", json!([stage("outer", &[0])]), "register 0 of an outer stage depends on an inner axis"),
        ("/stages", json!([stage("inner", &[0, 1]), stage("inner", &[0, 1])]), "register 1 is computed twice"),
        ("/stages", json!([stage("inner", &[0, 1])]), "no stage lists the store 3"),
        ("/stages", json!([stage("inner", &[7])]), "a stage lists register 7, which does not exist"),
        ("/stages/0/level", json!("outer"), "register 0 of an outer stage depends on an inner axis"),
        ("/outer", json!(3), "3 outer axes of 2"),
        ("/sizes", json!([3, -5]), "a size is negative"),
        ("/sizes", json!([1_i64 << 40, 1_i64 << 40]), "iterations are too many"),
        ("/body/0/type", json!("i32"), "the types of register 0 do not fit together"),
        ("/body/0/access/dtype", json!("bool"), "the types of register 0 do not fit together"),
        ("/body/2/op", json!("and"), "the types of register 2 do not fit together"),
        ("/body/2/op", json!("less"), "the types of register 2 do not fit together"),
        ("/body/2/a", json!(3), "register 2 uses register 3, which comes later"),
        ("/body/2/a", json!(30), "register 2 uses register 30, which does not exist"),
        ("/body/0/access/strides", json!([5]), "1 strides for 2 axes"),
        ("/body/3/access/strides", json!([0, 1]), "register 3 stores several values to one element"),
        ("/body/0/access/slot", json!(1000), "slot 1000 is beyond 64"),
    ];
    for (pointer, value, expected) in cases {
        let sentence = verdict(&with(&format!("/kernels/0{pointer}"), value)).expect_err(pointer);
        assert!(sentence.starts_with("plan: kernel 0: ") && sentence.contains(expected), "{pointer}: {sentence}");
    }
}

#[test]
fn json_that_is_no_plan_is_refused() {
    for (pointer, value, expected) in [
        ("/version", json!(2), "plan: version 2, this library runs version 1"),
        ("/kernels/0/kind", json!("magic"), "unknown variant `magic`"),
        ("/kernels/0/body/2/op", json!("tan"), "unknown instruction \"tan\""),
        ("/kernels/0/body/1/by", json!(null), "instruction \"reduce\" has no by"),
        ("/arguments/0/mode", json!("inout"), "unknown variant `inout`"),
        ("/arena/0", json!(-1), "invalid value"),
    ] {
        let sentence = verdict(&with(pointer, value)).expect_err(pointer);
        assert!(sentence.contains(expected), "{pointer}: {sentence}");
    }
    assert!(Plan::parse(b"{").is_err());
}

#[test]
fn other_kernels_check_their_counts() {
    let refused = |kernel: Value| -> String {
        let kernel: Kernel = serde_json::from_value(kernel).unwrap();
        kernel.bindings().unwrap_err().0
    };
    let topk = json!({
        "kind": "topk", "rows": [], "axis": {"size": 3, "a": 1}, "slots": {"size": 4, "c": 1}, "offsets": {"a": 0, "c": 0},
    });
    assert!(refused(topk).contains("the 4 largest of 3 elements"));
    assert!(
        refused(json!({"kind": "order", "groups": 1_i64 << 32, "positions": 4})).contains("do not fit an i32 index")
    );
    assert!(refused(json!({"kind": "copy", "words": -1})).contains("a size is negative"));
    let scatter = json!({
        "kind": "scatter", "groups": 3, "positions": [{"size": 2, "b": 4}], "columns": [{"size": 4, "b": 1, "c": 1}],
        "group": 2, "offsets": {"b": 0, "c": 0},
    });
    assert!(refused(scatter).contains("two indices write the same element"));
}

/// A product [3, 4] of depth 2, whose rows of 4 a loop of [3, 4] adds to slot 1.
fn with_loop(stored: bool) -> Value {
    let access = |slot: usize| json!({"slot": slot, "dtype": "f32", "offset": 0, "strides": [4, 1]});
    let (product, first, second) = if stored { (0, 1, 2) } else { (2, 0, 1) };
    json!({
        "kind": "contract", "batch": [], "m": {"size": 3, "a": 2, "c": 4}, "n": {"size": 4, "b": 1, "c": 1},
        "k": [{"size": 2, "a": 1, "b": 4}], "offsets": {"a": 0, "b": 0, "c": 0},
        "then": {"axes": 1, "slot": product, "stored": stored, "loop": {
            "kind": "loop", "sizes": [3, 4], "outer": 2, "lanes": "outer",
            "body": [
                {"op": "load", "type": "f32", "access": access(product)},
                {"op": "load", "type": "f32", "access": access(first)},
                {"op": "add", "type": "f32", "a": 0, "b": 1},
                {"op": "store", "type": "f32", "access": access(second), "a": 2},
            ],
            "stages": [{"level": "outer", "registers": [0, 1, 2, 3]}],
        }},
    })
}

#[test]
fn a_loop_behind_a_product_stays_in_its_rows() {
    let bindings =
        |kernel: Value| serde_json::from_value::<Kernel>(kernel).unwrap().bindings().map_err(|error| error.0);
    let bytes = |stored| bindings(with_loop(stored)).unwrap().iter().map(|slot| slot.bytes).collect::<Vec<_>>();
    assert_eq!(bytes(true), [24, 32, 48, 48, 48]);
    assert_eq!(bytes(false), [24, 32, 48, 48]);
    for stored in [true, false] {
        for (pointer, value, expected) in [
            ("/then/loop/body/0/access/offset", json!(1), "reads another row of it"),
            ("/then/loop/body/0/access/strides", json!([1, 3]), "reads another row of it"),
            ("/then/loop/sizes", json!([4, 4]), "has other rows"),
            ("/then/axes", json!(3), "has 2 rows' axes, not 3"),
            ("/then/slot", json!(7), "has no slot 7"),
            ("/then/loop/body/3/access/slot", json!(if stored { 0 } else { 2 }), "writes to it"),
        ] {
            let mut kernel = with_loop(stored);
            *kernel.pointer_mut(pointer).unwrap() = value;
            let error = bindings(kernel).unwrap_err();
            assert!(error.contains(expected), "{pointer}: {error}");
        }
    }
}
