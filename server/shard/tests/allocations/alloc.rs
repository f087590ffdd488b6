//! Counts this thread's allocations by standing in for the C library's allocator, which Rust's default
//! allocator calls too.
//!
//! Linux with glibc only: its own functions are there under a second name.

use std::cell::Cell;
use std::ffi::c_void;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: as glibc declares them.
unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(old: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(alignment: usize, size: usize) -> *mut c_void;
}

fn note() {
    // A thread that is ending has no counter any more.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

/// Allocations of this thread so far.
pub fn count() -> u64 {
    COUNT.with(Cell::get)
}

// SAFETY: the name is malloc's, and so is the contract: it is glibc's own that fulfils it.
#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    note();
    // SAFETY: as the caller's call.
    unsafe { __libc_malloc(size) }
}

// SAFETY: as for malloc.
#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    note();
    // SAFETY: as the caller's call.
    unsafe { __libc_calloc(count, size) }
}

// SAFETY: as for malloc; the caller gives what an allocation gave, as realloc demands.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(old: *mut c_void, size: usize) -> *mut c_void {
    note();
    // SAFETY: as the caller's call.
    unsafe { __libc_realloc(old, size) }
}

// SAFETY: as for malloc; the pointer is the caller's to write, as posix_memalign demands.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize) -> i32 {
    note();
    // SAFETY: the alignment is the caller's, a power of two; `out` may be written.
    unsafe {
        let memory = __libc_memalign(alignment, size);
        if memory.is_null() {
            return 12;
        }
        *out = memory;
    }
    0
}
