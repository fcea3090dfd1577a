//! Adapters: which there are, which one is meant, what it can do.

use std::sync::OnceLock;

use serde_json::json;
use wgpu::{
    Adapter, Backends, CooperativeMatrixProperties, CooperativeScalarType, DeviceType, ExperimentalFeatures, Features,
    Instance, InstanceDescriptor, Limits,
};

use crate::error::{Error, Result};

/// Kernels are planned for no more buffers than this, whatever the adapter allows.
const MOST_BINDINGS: u32 = 64;

/// Hardware before software, fast hardware first.
fn rank(adapter: &Adapter) -> u8 {
    match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    }
}

/// Drivers leave destructors for thread-local data behind, which threads run when they end: no driver may be unloaded
/// before the process ends. So the instance, which holds them, is never dropped.
static INSTANCE: OnceLock<Instance> = OnceLock::new();

/// All adapters, the best one first.
pub fn list() -> Vec<Adapter> {
    let instance = INSTANCE.get_or_init(|| {
        Instance::new(InstanceDescriptor {
            backends: Backends::VULKAN | Backends::METAL | Backends::DX12,
            flags: wgpu::InstanceFlags::empty(),
            ..InstanceDescriptor::new_without_display_handle()
        })
    });
    let mut adapters = pollster::block_on(instance.enumerate_adapters(Backends::all()));
    adapters.sort_by_key(rank);
    adapters
}

/// The adapter that `name` means.
pub fn choose(name: Option<&str>) -> Result<Adapter> {
    let adapters = list();
    let known = adapters.iter().map(|adapter| adapter.get_info().name).collect::<Vec<_>>();
    let wanted = name.unwrap_or_default().to_lowercase();
    adapters.into_iter().find(|adapter| adapter.get_info().name.to_lowercase().contains(&wanted)).ok_or_else(|| {
        Error(if known.is_empty() {
            "wgpu: there is no graphics adapter. Install a driver (on Debian without a GPU: libvulkan1 and \
             mesa-vulkan-drivers), or use --device cpu."
                .to_owned()
        } else {
            format!("wgpu: no adapter's name contains \"{wanted}\". There is: {}.", known.join("; "))
        })
    })
}

pub fn is_software(adapter: &Adapter) -> bool {
    adapter.get_info().device_type == DeviceType::Cpu
}

/// The adapter's own limits, where they concern compute shaders; they are what a device is opened with.
pub fn limits(adapter: &Adapter) -> Limits {
    adapter.limits()
}

/// What shaders need for cooperative matrices: the matrices, the number of a subgroup, and elements of 16 bits.
const COOPERATIVE: Features =
    Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(Features::SUBGROUP).union(Features::SHADER_F16);

/// What a device is opened with beyond what every one can do, where the adapter has it: timestamps and cooperative
/// matrices.
pub fn features(adapter: &Adapter) -> Features {
    let cooperative = if cooperative_matrices(adapter).is_empty() { Features::empty() } else { COOPERATIVE };
    (adapter.features() & Features::TIMESTAMP_QUERY) | cooperative
}

/// The consent that [`features`] need.
pub fn experimental(adapter: &Adapter) -> ExperimentalFeatures {
    if cooperative_matrices(adapter).is_empty() {
        return ExperimentalFeatures::disabled();
    }
    // SAFETY: of the experimental features only cooperative matrices are used, by shaders that our compiler prints:
    // whole subgroups load, multiply and store them in uniform control flow, within workgroup memory.
    unsafe { ExperimentalFeatures::enabled() }
}

/// A type of a matrix's elements, as `CooperativeMatrices` of `backend/device.ts` names it; none for integers.
fn element(scalar: CooperativeScalarType) -> Option<&'static str> {
    match scalar {
        CooperativeScalarType::F16 => Some("f16"),
        CooperativeScalarType::F32 => Some("f32"),
        CooperativeScalarType::I32 | CooperativeScalarType::U32 => None,
    }
}

fn describe_matrices(matrices: &CooperativeMatrixProperties) -> Option<serde_json::Value> {
    let (operands, sums) = (element(matrices.ab_type)?, element(matrices.cr_type)?);
    let (m, n, k) = (matrices.m_size, matrices.n_size, matrices.k_size);
    Some(json!({ "m": m, "n": n, "k": k, "operands": operands, "sums": sums }))
}

/// The adapter's cooperative matrices of reals; none where shaders cannot use them.
fn cooperative_matrices(adapter: &Adapter) -> Vec<serde_json::Value> {
    if !adapter.features().contains(COOPERATIVE) {
        return Vec::new();
    }
    adapter.cooperative_matrix_properties().iter().filter_map(describe_matrices).collect()
}

/// Bytes of the largest memory that is the device's own; what a single buffer may have where that cannot be known.
fn memory_bytes(adapter: &Adapter) -> u64 {
    vulkan_memory(adapter).unwrap_or_else(|| adapter.limits().max_buffer_size)
}

#[cfg(not(any(target_os = "macos", target_os = "ios")))]
fn vulkan_memory(adapter: &Adapter) -> Option<u64> {
    // SAFETY: the handle is used for a query while the adapter lives, and is not destroyed.
    let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = vulkan.shared_instance().raw_instance();
    // SAFETY: the physical device belongs to this instance; both are alive.
    let properties = unsafe { instance.get_physical_device_memory_properties(vulkan.raw_physical_device()) };
    let heaps = properties.memory_heaps.iter().take(usize::try_from(properties.memory_heap_count).unwrap_or(0));
    // Bit 0: local to the device.
    heaps.filter(|heap| heap.flags.as_raw() & 1 != 0).map(|heap| heap.size).max()
}

#[cfg(any(target_os = "macos", target_os = "ios"))]
fn vulkan_memory(_adapter: &Adapter) -> Option<u64> {
    None
}

/// `Capabilities` of `backend/device.ts`, and which driver it is.
pub fn describe(adapter: &Adapter) -> serde_json::Value {
    let info = adapter.get_info();
    let limits = limits(adapter);
    json!({
        "kind": "wgpu",
        "name": info.name,
        "backend": info.backend.to_str(),
        "driver": format!("{} {}", info.driver, info.driver_info).trim(),
        "software": is_software(adapter),
        "maxBindings": limits.max_storage_buffers_per_shader_stage.min(MOST_BINDINGS),
        "maxBindingBytes": limits.max_storage_buffer_binding_size,
        "maxBufferBytes": limits.max_buffer_size,
        "memoryBytes": memory_bytes(adapter),
        "maxWorkgroupSize": limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
        "workgroupMemoryBytes": limits.max_compute_workgroup_storage_size,
        "timestamps": features(adapter).contains(Features::TIMESTAMP_QUERY),
        "cooperativeMatrices": cooperative_matrices(adapter),
        "subgroupSizes": [info.subgroup_min_size, info.subgroup_max_size],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_of_reals_are_described_and_those_of_integers_left_out() {
        let of = |ab_type, cr_type| CooperativeMatrixProperties {
            m_size: 16,
            n_size: 8,
            k_size: 16,
            ab_type,
            cr_type,
            saturating_accumulation: false,
        };
        let described = describe_matrices(&of(CooperativeScalarType::F16, CooperativeScalarType::F32));
        assert_eq!(described, Some(json!({ "m": 16, "n": 8, "k": 16, "operands": "f16", "sums": "f32" })));
        assert_eq!(describe_matrices(&of(CooperativeScalarType::I32, CooperativeScalarType::I32)), None);
    }

    #[test]
    fn experimental_features_are_asked_for_only_where_matrices_are_listed() {
        for adapter in list() {
            let listed = !cooperative_matrices(&adapter).is_empty();
            assert_eq!(features(&adapter).contains(COOPERATIVE), listed);
            assert_eq!(experimental(&adapter).is_enabled(), listed);
            assert_eq!(features(&adapter) - adapter.features(), Features::empty());
        }
    }
}
