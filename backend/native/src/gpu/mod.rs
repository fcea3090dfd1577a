//! The wgpu device: Vulkan, Metal or DX12, whichever the machine has.
//!
//! [`adapter`] finds a GPU and says what it can do, [`memory`] holds buffers, [`pipelines`] compiles each shader once,
//! [`loaded`] is a plan ready to run, [`device`] runs it, [`timing`] measures its steps.

mod adapter;
mod device;
mod loaded;
mod memory;
mod pipelines;
#[cfg(test)]
mod tests;
mod timing;

use std::sync::Arc;

use crate::device::Device;
use crate::error::Result;

/// Opens the adapter whose name contains `name` (case does not matter). Without a name: hardware first, a software
/// adapter only if there is nothing else.
pub fn open(name: Option<&str>) -> Result<Arc<dyn Device>> {
    Ok(Arc::new(device::GpuDevice::open(adapter::choose(name)?)?))
}

/// Adapters, as JSON objects; the one that is opened without a name comes first.
pub fn adapters() -> Vec<serde_json::Value> {
    adapter::list().iter().map(adapter::describe).collect()
}
