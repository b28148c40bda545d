//! What the driver of NVIDIA's cards has to be told.

use cudarc::driver::{result, sys};

/// Asks the driver to keep what is freed on a card for the next allocation.
///
/// Otherwise all free memory goes back at every point where the program waits for the card, and is
/// mapped anew afterwards: in training once for the gradient of every parameter. The card must be
/// in use by this program.
///
/// # Errors
/// With the driver's words, if there is no such card or it has no pool of memory.
pub fn keep_freed_memory_of(card: usize) -> Result<(), String> {
    let words = |error: result::DriverError| error.to_string();
    let card = i32::try_from(card).map_err(|error| error.to_string())?;
    let device = result::device::get(card).map_err(words)?;
    let mut pool = std::ptr::null_mut();
    // SAFETY: the driver writes the handle of the card's pool into the variable it is given.
    unsafe { sys::cuDeviceGetDefaultMemPool(&raw mut pool, device) }.result().map_err(words)?;
    let mut kept = u64::MAX;
    let attribute = sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the pool is the one from above, and the value of this attribute is a 64-bit number,
    // which the driver reads before it returns.
    unsafe { sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut kept).cast()) }
        .result()
        .map_err(words)
}
