//! Asks for cache lines before they are needed.
//!
//! What goes from one core to another goes in lines, and a line takes as long as a hundred instructions. A core that asks for one
//! when it needs it waits for each; asked for ahead, a dozen are on their way at once. The processor does that by itself only for what it
//! sees coming, which are a few events, and for stores hardly at all: they go out in order, and an atomic read-modify-write waits until
//! all before it have.
//!
//! These are hints: no result depends on them, and addresses that belong to nobody do no harm. Where there is no such instruction they
//! are nothing.

#![expect(unsafe_code, reason = "there is no safe name for these instructions")]

use super::{AtomicU64, Ordering::Relaxed};

/// Of most processors. Where lines are twice as long, each is asked for twice.
const LINE: usize = 64;

/// Asks for the lines of so many bytes, to read them.
#[inline]
pub(crate) fn to_read(address: usize, bytes: usize) {
    lines(address, bytes, hint::read);
}

/// Asks for the lines of so many bytes, to write to them: no other core keeps a copy.
#[inline]
pub(crate) fn to_write(address: usize, bytes: usize) {
    lines(address, bytes, hint::write);
}

/// What stands before a value in an `Arc`: its counts.
const COUNTS: usize = 2 * size_of::<usize>();

/// Asks for the line of the counts of what lies at `address` in an `Arc`, to count it, and for the line behind that.
#[inline]
pub(crate) fn counted(address: usize) {
    to_write(address.wrapping_sub(COUNTS), 1);
    to_read(address.wrapping_add(LINE - COUNTS), 1);
}

/// Where something lies that is counted: whoever sees this may ask for it before they have it. It is not kept alive by this, and is
/// perhaps something else by then, which does no harm.
#[derive(Default)]
pub(crate) struct Hint(AtomicU64);

impl Hint {
    #[inline]
    pub(crate) fn set(&self, address: usize) {
        self.0.store(address as u64, Relaxed);
    }

    #[inline]
    pub(crate) fn ask(&self) {
        counted(self.0.load(Relaxed) as usize);
    }
}

#[inline]
fn lines(address: usize, bytes: usize, ask: impl Fn(usize)) {
    if bytes == 0 {
        return;
    }
    let first = address & !(LINE - 1);
    let count = (address - first + bytes).div_ceil(LINE);
    let (fours, rest) = (count / 4, count % 4);
    for four in 0..fours {
        (0..4).for_each(|line| ask(first + (4 * four + line) * LINE));
    }
    for line in 4 * fours..4 * fours + rest {
        ask(first + line * LINE);
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod hint {
    use std::arch::asm;

    #[inline]
    pub(super) fn read(address: usize) {
        // SAFETY: it changes nothing but what is cached, whatever the address.
        unsafe { asm!("prefetcht0 [{}]", in(reg) address, options(nomem, nostack, preserves_flags)) }
    }

    /// Not `_mm_prefetch`, which comes out as the one for reading where the compiler knows of a processor only that it has 64 bits.
    #[inline]
    pub(super) fn write(address: usize) {
        // SAFETY: as for reading. It is no part of x86-64 at its plainest: processors of AMD's have always had it, Intel's pass over it
        // or have it but for the very first of 2004, on which today's systems do not run either.
        unsafe { asm!("prefetchw [{}]", in(reg) address, options(nomem, nostack, preserves_flags)) }
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod hint {
    use std::arch::asm;

    #[inline]
    pub(super) fn read(address: usize) {
        // SAFETY: it changes nothing but what is cached, whatever the address.
        unsafe { asm!("prfm pldl1keep, [{}]", in(reg) address, options(nomem, nostack, preserves_flags)) }
    }

    #[inline]
    pub(super) fn write(address: usize) {
        // SAFETY: as for reading.
        unsafe { asm!("prfm pstl1keep, [{}]", in(reg) address, options(nomem, nostack, preserves_flags)) }
    }
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod hint {
    pub(super) fn read(_: usize) {}

    pub(super) fn write(_: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn asked_for(address: usize, bytes: usize) -> Vec<usize> {
        let asked = RefCell::new(Vec::new());
        lines(address, bytes, |line| asked.borrow_mut().push(line));
        asked.into_inner()
    }

    #[test]
    fn each_line_that_has_a_byte_of_it_is_asked_for_once() {
        assert!(asked_for(640, 0).is_empty());
        for (address, bytes) in (600..700).flat_map(|address| (1..700).map(move |bytes| (address, bytes))) {
            let expected: Vec<_> = (address / LINE..=(address + bytes - 1) / LINE).map(|line| line * LINE).collect();
            assert_eq!(asked_for(address, bytes), expected, "{bytes} bytes from {address}");
        }
    }

    #[test]
    fn nothing_comes_of_asking() {
        let mut bytes = [7_u8; 300];
        to_read(bytes.as_ptr().addr(), bytes.len());
        to_write(bytes.as_mut_ptr().addr(), bytes.len());
        assert_eq!(bytes, [7; 300]);
        to_read(64, 1000);
        to_write(64, 1000);
    }
}
