//! The CPU device.

use std::sync::Arc;

use crate::device::Device;
use crate::error::Result;

pub fn open() -> Result<Arc<dyn Device>> {
    todo!()
}
mod convert;
mod math;
mod memory;
mod tape;
