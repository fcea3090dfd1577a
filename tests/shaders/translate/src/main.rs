//! `xft_translate FOLDER`: parses and validates every WGSL file of a folder and translates it to SPIR-V, MSL and HLSL,
//! bounds-checked and trusted. SPIR-V is written beside it, for `spirv-val`. One line per fault; exit code 1 if any.
//! Cooperative matrices exist in SPIR-V and MSL only: a shader that enables them is not asked for HLSL.

use std::path::{Path, PathBuf};

use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};

/// The entry point of all our shaders.
const ENTRY: &str = "main";

/// What a shader that uses cooperative matrices begins with, among its other extensions.
const COOPERATIVE: &str = "enable wgpu_cooperative_matrix;";

/// The two ways in which the library makes shader modules.
const MODES: [(&str, BoundsCheckPolicy); 2] =
    [("checked", BoundsCheckPolicy::Restrict), ("trusted", BoundsCheckPolicy::Unchecked)];

fn to_spirv(module: &Module, info: &ModuleInfo, bounds: BoundsCheckPolicies) -> Result<Vec<u32>, String> {
    // wgpu's own version for Vulkan 1.1, which every driver we know of has.
    let options = spv::Options { lang_version: (1, 3), bounds_check_policies: bounds, ..spv::Options::default() };
    let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: ENTRY.to_owned() };
    spv::write_vec(module, info, &options, Some(&pipeline)).map_err(|error| format!("SPIR-V: {error}"))
}

fn to_msl(module: &Module, info: &ModuleInfo, bounds: BoundsCheckPolicies) -> Result<(), String> {
    let options = msl::Options {
        lang_version: (2, 4),
        bounds_check_policies: bounds,
        fake_missing_bindings: true,
        ..msl::Options::default()
    };
    let pipeline = msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, ENTRY.to_owned())),
        ..msl::PipelineOptions::default()
    };
    let (text, _) = msl::write_string(module, info, &options, &pipeline).map_err(|error| format!("MSL: {error}"))?;
    if text.contains("kernel void") { Ok(()) } else { Err("MSL: no kernel".to_owned()) }
}

fn to_hlsl(module: &Module, info: &ModuleInfo, restrict: bool) -> Result<(), String> {
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        fake_missing_bindings: true,
        restrict_indexing: restrict,
        ..hlsl::Options::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, ENTRY.to_owned())) };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(module, info, None)
        .map_err(|error| format!("HLSL: {error}"))?;
    if text.contains("[numthreads(") { Ok(()) } else { Err("HLSL: no kernel".to_owned()) }
}

fn translate(path: &Path) -> Result<(), String> {
    let source = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let module = naga::front::wgsl::parse_str(&source).map_err(|error| error.emit_to_string(&source))?;
    let cooperative = source.lines().take_while(|line| line.starts_with("enable ")).any(|line| line == COOPERATIVE);
    let allowed = if cooperative {
        Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP
    } else {
        Capabilities::empty()
    };
    let info = Validator::new(ValidationFlags::all(), allowed)
        .validate(&module)
        .map_err(|error| error.emit_to_string(&source))?;
    for (mode, policy) in MODES {
        let bounds = BoundsCheckPolicies { index: policy, buffer: policy, ..BoundsCheckPolicies::default() };
        let words = to_spirv(&module, &info, bounds)?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let target = path.with_extension(format!("{mode}.spv"));
        std::fs::write(target, bytes).map_err(|error| error.to_string())?;
        to_msl(&module, &info, bounds)?;
        if !cooperative {
            to_hlsl(&module, &info, policy == BoundsCheckPolicy::Restrict)?;
        }
    }
    Ok(())
}

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("usage: xft_translate FOLDER"));
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder can be read")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wgsl"))
        .collect();
    paths.sort();
    let mut faults = 0;
    for path in &paths {
        if let Err(fault) = translate(path) {
            println!("{}: {fault}", path.display());
            faults += 1;
        }
    }
    println!("{} shaders, {faults} faults", paths.len());
    std::process::exit(i32::from(faults > 0));
}
