//! Work that nobody asked for just now: periodic, or likely to be of use soon.
//!
//! | part | what it is |
//! |------|------------|
//! | [`Scheduler`] | the worker: its entries, and what they push |
//! | [`Every`] | when a periodic entry is due, what it costs, whether it is essential |
//! | [`ScheduleBudget`] | what all of it may cost: a function of the policy |
//! | [`SchedulerStats`] | what became of each entry; it also remembers what was spent, from one run of the worker to the next |
//!
//! # What it promises
//! - **Budget.** Each run has a cost in units. Within any stretch of time as long as the budget's window, wherever it begins, no more is spent
//!   than the budget has; at once no more than its burst. A run is paid for as it begins, an event of a likely entry when it is chosen: what then waits
//!   for room in the lane may arrive closer together. Essential entries are no exception. When the policy changes, what was spent before
//!   counts on, as far back as the window went by then.
//! - **Order.** Periodic entries before likely ones; among periodic ones who is due longest; among likely ones who was asked longest ago. Whoever
//!   is first and has not enough budget saves up, and is not overtaken. So once it is due, a periodic entry waits for at most one run
//!   of each other, and a likely one until each other was asked once. An entry that costs more than the budget ever has does not run, and holds
//!   nobody up. Periodic work may take all of the budget; then nothing is left for what is likely.
//! - **No drift, no bursts.** A periodic entry keeps to its moments, however late it ran. If it is late by whole periods, it runs once, and
//!   those periods are counted as missed.
//! - **Congestion.** While its lane is [busy](crate::control::Congestion::Busy) it asks no likely entry, and while it is
//!   [full](crate::control::Congestion::Full) it runs essential ones alone. It waits before it looks whether that has changed: twice as long each
//!   time, up to a bound, and from the beginning once it found the lane clear.
//! - **Nothing silent.** What was missed, put off and why, and what failed is [counted](EntryCounts), entry by entry.
//! - **Failures.** A panic in an entry, or a refused event, ends the run of the worker, as with any worker. The next run begins with all entries
//!   anew: their first delays, too.
//!
//! # What it costs
//! It sleeps until something is due. With likely entries, or while work waits for budget, it wakes up every
//! [`look_every`](Scheduler::look_every) too, since nobody tells it of a new snapshot or policy: a look is a few atomic operations and two short locks.
//! A [nudge](crate::control::ControlPanel::nudge) has it look at once.
//!
//! ```
//! use std::time::Duration;
//! use mainlane::control::{ControlPanel, scheduler::{Every, ScheduleBudget, Scheduler, SchedulerStats}};
//! # use mainlane::{Authority, Class, Coalesced, Drive, Effects, Envelope, Event, Pipeline, Reducer};
//! # #[derive(Debug)]
//! # enum Note { Beat, Warm(u32) }
//! # impl Event for Note {
//! #     type Key = ();
//! #     type Facets = ();
//! #     fn class(&self) -> Class<()> { Class::Critical }
//! #     fn coalesce(&mut self, _: Self) -> Coalesced { Coalesced::Replaced }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Notes { beats: u32, cold: Vec<u32> }
//! # impl Reducer for Notes {
//! #     type Event = Note;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Note>, _: &mut Effects<()>) {
//! #         match envelope.event { Note::Beat => self.beats += 1, Note::Warm(n) => self.cold.retain(|cold| cold != n) }
//! #     }
//! # }
//! let notes = Notes { beats: 0, cold: vec![1, 2, 3, 4, 5] };
//! let (main_lane, handle) = Pipeline::builder(notes).build()?;
//! let mut running = main_lane.spawn(Drive::new())?;
//! let stats = SchedulerStats::new();
//!
//! let mut panel = ControlPanel::builder().start()?;
//! let counting = stats.clone();
//! let make = move || {
//!     // Four units a minute. With a policy the budget would be a part of it.
//!     let scheduler = Scheduler::new(|_: &()| ScheduleBudget::per(Duration::from_secs(60), 4))
//!         .every(Every::new("beat", Duration::from_secs(60)).first_after(Duration::ZERO), |_, out| out.push(Note::Beat))
//!         .likely("warm", 1, |notes: &Notes| Some(notes.cold.clone().into_iter().map(Note::Warm)))
//!         .stats(counting.clone());
//!     Ok(scheduler)
//! };
//! panel.worker(&handle, "scheduler", make).start()?;
//!
//! let mut reader = handle.reader();
//! # let patience = std::time::Instant::now() + Duration::from_secs(60);
//! while reader.load().cold.len() > 2 {
//!     reader.wait_changed(patience).expect("three of the four units are left for what is likely");
//! }
//! assert_eq!((reader.load().beats, &reader.load().cold), (1, &vec![4, 5]));
//! assert_eq!(stats.entry("warm").unwrap().runs, 3);
//! # assert!(panel.shutdown(Duration::from_secs(60)).complete);
//! # running.shutdown(Duration::from_secs(60));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// In the order of a decision.
mod budget;
mod core;
mod pauses;

mod stats;
mod worker;

#[cfg(test)]
mod twin;

pub use budget::ScheduleBudget;
pub use stats::{EntryCounts, SchedulerStats};
pub use worker::{Every, Scheduler};
