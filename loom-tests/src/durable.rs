//! A turn that is seen to be durable was written before: `journal/progress.rs`.
//!
//! Modelled: a journal that writes two turns and says so after each, and a reader that looks how far it is and then at what
//! was written.
//!
//! Bounds: two threads, explored in full. A moment.
//!
//! Must make it fail: weakening either end of P14; saying so before writing, which is a control arm.

use crate::durable_file::Durable;
use crate::sync::{Arc, AtomicU64, Ordering::Relaxed};
use loom::thread;

/// When the journal says that a turn is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saying {
    /// As the engine does.
    AfterWriting,
    /// What is said is not so yet.
    BeforeWriting,
}

/// What is durable was written.
pub fn written_before_said(saying: Saying) {
    let durable = Arc::new(Durable::new(0));
    let written = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let (journal, disk) = (durable.clone(), written.clone());
    let writer = thread::spawn(move || {
        for turn in 1..=2 {
            if saying == Saying::BeforeWriting {
                journal.reach(turn);
            }
            disk[turn as usize - 1].store(turn, Relaxed);
            if saying == Saying::AfterWriting {
                journal.reach(turn);
            }
        }
    });
    let turn = durable.turn();
    for before in 1..=turn {
        assert_eq!(written[before as usize - 1].load(Relaxed), before, "said to be durable, and not written");
    }
    writer.join().unwrap();
}
