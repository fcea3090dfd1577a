//! What a device can do. [`crate::cpu`] and [`crate::gpu`] implement it, [`crate::abi`] calls it.

use crate::error::Result;
use crate::plan::Plan;

/// A device with its memory and its loaded plans. Handles are small integers from 1 on; a wrong one is an error.
pub trait Device: Send + Sync {
    /// `Capabilities` of `backend/device.ts`, with `usedBytes` and `peakBytes` beside them.
    fn info(&self) -> serde_json::Value;

    /// A buffer of zeros; `bytes` may be 0.
    fn allocate(&self, bytes: u64) -> Result<u64>;

    fn free(&self, buffer: u64) -> Result<()>;

    /// Copies `data` to the buffer's bytes from `offset` on.
    fn write(&self, buffer: u64, offset: u64, data: &[u8]) -> Result<()>;

    /// Copies the buffer's bytes from `offset` on to `into`, after everything submitted before has run.
    fn read(&self, buffer: u64, offset: u64, into: &mut [u8]) -> Result<()>;

    /// Validates a plan and prepares it to run.
    fn load(&self, plan: Plan) -> Result<u64>;

    fn unload(&self, plan: u64) -> Result<()>;

    /// Runs a whole step. Returns when it is done, or submitted where [`Self::read`] and [`Self::status`] wait.
    /// `arguments` are buffer handles; a 0 for an "out" argument is replaced by the handle of a new buffer.
    fn run(&self, plan: u64, arguments: &mut [u64], upload: &[u8]) -> Result<()>;

    /// Ends the run in progress, if any, as soon as the device can, and refuses later ones. Callable during a run.
    fn cancel(&self);

    /// Nanoseconds that each step of a plan took in all runs so far; empty where they are not measured.
    fn profile(&self, plan: u64) -> Result<Vec<u64>>;

    /// Reads and clears the status word: 0, or 1 + the step whose index was out of range.
    fn status(&self) -> Result<u32>;

    /// Bytes held in buffers and arena now.
    fn used_bytes(&self) -> u64;
}
