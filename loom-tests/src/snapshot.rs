//! Publication: `snapshot/publisher.rs`.
//!
//! Modelled: a main lane that publishes and a reader that loads, with a state that loom watches, so that a snapshot that
//! is read while it is written is found. The cell is the real one, `sync/newest.rs`, with one stripe.
//!
//! Bounds: one reader, two publications, after none or after those that fill the shelf. A few seconds.
//!
//! Must make it fail: weakening either end of P12; storing the version before the cell; a reader that looks at the word but once (N2); a writer that uses the place that is named (N1); using a snapshot again that a reader holds.

#![expect(unsafe_code, reason = "what a cell of loom's hands out is a pointer")]

use loom::cell::UnsafeCell;
use loom::thread;

use crate::clock::Stamp;
use crate::snapshot_files::Version;
use crate::snapshot_files::publisher::{Publisher, QUARANTINE, Shelf};
use crate::sync::Arc;

/// A state of two halves that loom watches.
struct Halves(UnsafeCell<(u64, u64)>);

impl Halves {
    fn new(n: u64) -> Self {
        Self(UnsafeCell::new((n, n)))
    }

    fn read(&self) -> u64 {
        // SAFETY: loom watches that nobody writes meanwhile.
        let (first, second) = self.0.with(|halves| unsafe { *halves });
        assert_eq!(first, second, "half-written");
        first
    }
}

impl Clone for Halves {
    fn clone(&self) -> Self {
        Self::new(self.read())
    }

    fn clone_from(&mut self, source: &Self) {
        let n = source.read();
        // SAFETY: loom watches that nobody reads meanwhile.
        self.0.with_mut(|halves| unsafe { *halves = (n, n) });
    }
}

fn publish(publisher: &mut Publisher<Halves>, n: u64) -> bool {
    publisher.publish(&Halves::new(n), Stamp::UNCLOCKED, n)
}

/// The version is never ahead of the cell, and neither goes back (S2).
pub fn version_behind_cell() {
    let shelf = Arc::new(Shelf::new(Halves::new(0), 0));
    let publishing = shelf.clone();
    let main_lane = thread::spawn(move || {
        let mut publisher = Publisher::new(publishing);
        publish(&mut publisher, 1);
        publish(&mut publisher, 2);
    });
    let mut newest = Version(0);
    for _ in 0..2 {
        let version = shelf.version();
        let snapshot = shelf.load();
        assert!(version >= Version(0) && snapshot.version >= version, "the version is ahead of the cell");
        assert!(snapshot.version >= newest, "back in time");
        assert_eq!(snapshot.state.read(), snapshot.version.0);
        newest = snapshot.version;
    }
    main_lane.join().unwrap();
}

/// A retired snapshot that a reader holds is not used again before the reader lets go; one that nobody holds is.
pub fn used_again() {
    let shelf = Arc::new(Shelf::new(Halves::new(0), 0));
    let mut publisher = Publisher::new(shelf.clone());
    let held = shelf.load();
    for n in 1..=QUARANTINE as u64 + 2 {
        assert!(publish(&mut publisher, n), "too early to use one again");
    }
    let main_lane = thread::spawn(move || {
        // Whether any is used again depends on what the reader is in the middle of.
        publish(&mut publisher, 4);
        publish(&mut publisher, 5);
    });
    assert_eq!(held.state.read(), 0, "a snapshot that is held does not change");
    drop(held);
    let snapshot = shelf.load();
    assert_eq!(snapshot.state.read(), snapshot.version.0);
    assert!(snapshot.version >= Version(3));
    main_lane.join().unwrap();
    assert_eq!(snapshot.state.read(), snapshot.version.0, "nor does one that was loaded later");
}
