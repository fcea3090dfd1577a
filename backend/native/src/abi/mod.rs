//! The C functions. Only this module's children have `extern "C"`; each function checks what it was given, calls
//! one safe function and maps its result to a code.
//!
//! **Codes.** A function returns 0, or the number of an error (from 1 on) whose sentence `xft_last_error` gives.
//! Functions that give a length return it as an `i64`, or minus the number of an error. Errors have numbers
//! because Deno makes nonblocking calls on other threads: neither a thread's nor the process' last error would
//! surely be the caller's.
//!
//! **Safety**, of every function here: a pointer with a length points to that many readable (for results:
//! writable) bytes, or the length is 0; a pointer to one number points to it, aligned.

pub mod device;
pub mod files;
pub mod tokenizer;

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// Version of these functions and of the plans they take.
pub const VERSION: u32 = 1;

/// Errors whose sentence nobody fetched, at most.
const KEPT_ERRORS: usize = 256;

/// A lock that outlives a panic: what it guards is changed in single steps.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Errors {
    next: i32,
    sentences: BTreeMap<i32, String>,
}

static ERRORS: Mutex<Errors> = Mutex::new(Errors { next: 1, sentences: BTreeMap::new() });

fn remember(error: Error) -> i32 {
    let mut errors = lock(&ERRORS);
    let number = errors.next;
    errors.next = if number == i32::MAX { 1 } else { number + 1 };
    errors.sentences.insert(number, error.0);
    while errors.sentences.len() > KEPT_ERRORS {
        errors.sentences.pop_first();
    }
    number
}

/// Runs `body` so that neither an error nor a panic leaves it but as a number.
fn caught<T>(body: impl FnOnce() -> Result<T>) -> std::result::Result<T, i32> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(remember(error)),
        Err(panic) => Err(remember(Error(format!("internal error in the native library: {}", message(&*panic))))),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a message")
}

/// 0, or the number of the error.
pub(crate) fn guard(body: impl FnOnce() -> Result<()>) -> i32 {
    caught(body).err().unwrap_or(0)
}

/// A length, or minus the number of the error.
pub(crate) fn guard_length(body: impl FnOnce() -> Result<usize>) -> i64 {
    match caught(body) {
        Ok(length) => i64::try_from(length).unwrap_or(i64::MAX),
        Err(number) => -i64::from(number),
    }
}

/// The caller's bytes.
///
/// # Safety
/// `data` points to `length` readable bytes which nobody writes meanwhile, or `length` is 0.
pub(crate) unsafe fn bytes<'a>(data: *const u8, length: usize) -> Result<&'a [u8]> {
    if length == 0 {
        return Ok(&[]);
    }
    crate::ensure!(!data.is_null() && isize::try_from(length).is_ok(), "a null pointer for {length} bytes");
    // SAFETY: not null, and by contract `length` readable bytes.
    Ok(unsafe { std::slice::from_raw_parts(data, length) })
}

/// The caller's bytes, to be written.
///
/// # Safety
/// `data` points to `length` writable bytes which nobody else uses meanwhile, or `length` is 0.
pub(crate) unsafe fn bytes_mut<'a>(data: *mut u8, length: usize) -> Result<&'a mut [u8]> {
    if length == 0 {
        return Ok(&mut []);
    }
    crate::ensure!(!data.is_null() && isize::try_from(length).is_ok(), "a null pointer for {length} bytes");
    // SAFETY: not null, and by contract `length` writable bytes.
    Ok(unsafe { std::slice::from_raw_parts_mut(data, length) })
}

/// The caller's UTF-8 text.
///
/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn text<'a>(data: *const u8, length: usize) -> Result<&'a str> {
    // SAFETY: the caller's contract.
    std::str::from_utf8(unsafe { bytes(data, length) }?).map_err(|_| Error::new("a text is not UTF-8"))
}

/// Writes one result.
///
/// # Safety
/// `out` points to a writable, aligned T.
pub(crate) unsafe fn put<T>(out: *mut T, value: T) -> Result<()> {
    crate::ensure!(!out.is_null() && out.is_aligned(), "no place for the result");
    // SAFETY: not null, aligned, and by contract writable.
    unsafe { out.write(value) };
    Ok(())
}

/// Copies `data` out if it fits, and gives its length in any case (so that a caller can ask twice).
///
/// # Safety
/// `out` points to `capacity` writable bytes, or `capacity` is 0.
pub(crate) unsafe fn copy_out(data: &[u8], out: *mut u8, capacity: usize) -> Result<usize> {
    if data.len() <= capacity {
        // SAFETY: the caller's contract.
        unsafe { bytes_mut(out, data.len()) }?.copy_from_slice(data);
    }
    Ok(data.len())
}

static NEXT_HANDLE: AtomicU64 = AtomicU64::new(1);

/// Things behind integer handles. Handles are unique over all tables: one of another kind is an error, not a mix-up.
pub(crate) struct Table<T: ?Sized> {
    what: &'static str,
    entries: LazyLock<Mutex<HashMap<u64, Arc<T>>>>,
}

impl<T: ?Sized> Table<T> {
    /// `what` names the things in errors.
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what, entries: LazyLock::new(|| Mutex::new(HashMap::new())) }
    }

    pub(crate) fn insert(&self, entry: Arc<T>) -> u64 {
        let handle = NEXT_HANDLE.fetch_add(1, Ordering::Relaxed);
        lock(&self.entries).insert(handle, entry);
        handle
    }

    pub(crate) fn get(&self, handle: u64) -> Result<Arc<T>> {
        let entry = lock(&self.entries).get(&handle).cloned();
        entry.ok_or_else(|| Error(format!("no {} with handle {handle}: it was never opened, or is closed", self.what)))
    }

    /// Takes the entry out; whoever still uses it keeps it alive.
    pub(crate) fn remove(&self, handle: u64) -> Result<Arc<T>> {
        let entry = lock(&self.entries).remove(&handle);
        entry.ok_or_else(|| Error(format!("no {} with handle {handle}: it was never opened, or is closed", self.what)))
    }
}

/// Version of the functions and plans.
#[unsafe(no_mangle)]
pub extern "C" fn xft_version() -> u32 {
    VERSION
}

/// The sentence of error `number` (a code as returned; of a length, minus it), forgotten once it was copied.
/// Returns its length in bytes; 0 if there is no such error.
///
/// # Safety
/// As the module says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xft_last_error(number: i32, out: *mut u8, capacity: usize) -> usize {
    let mut errors = lock(&ERRORS);
    let Some(sentence) = errors.sentences.get(&number) else { return 0 };
    // SAFETY: the caller's contract.
    let length = unsafe { copy_out(sentence.as_bytes(), out, capacity) }.unwrap_or(0);
    if length <= capacity {
        errors.sentences.remove(&number);
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fail;

    fn sentence(number: i32) -> String {
        let mut out = vec![0; 1024];
        // SAFETY: `out` has 1024 bytes.
        let length = unsafe { xft_last_error(number, out.as_mut_ptr(), out.len()) };
        String::from_utf8(out[..length].to_vec()).unwrap()
    }

    #[test]
    fn errors_keep_their_own_sentence() {
        let first = guard(|| fail!("first"));
        let second = guard(|| fail!("second"));
        assert_eq!(guard(|| Ok(())), 0);
        assert_eq!(sentence(second), "second");
        assert_eq!(sentence(first), "first");
        assert_eq!(sentence(first), "", "fetched once");
        assert_eq!(guard_length(|| Ok(7)), 7);
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let number = guard(|| panic!("broken {}", 1));
        assert!(sentence(number).contains("broken 1"));
    }

    #[test]
    fn handles_of_one_table_mean_nothing_in_another() {
        static NUMBERS: Table<u32> = Table::new("number");
        static TEXTS: Table<str> = Table::new("text");
        let number = NUMBERS.insert(Arc::new(3));
        assert_eq!(*NUMBERS.get(number).unwrap(), 3);
        assert!(TEXTS.get(number).unwrap_err().0.contains("no text with handle"));
        NUMBERS.remove(number).unwrap();
        assert!(NUMBERS.get(number).is_err());
    }
}
