//! The signal bus: how parts of a host tell each other what happened, without knowing each other.
//!
//! A **signal** is a value of the host's, of a type that is its [family](Signal). Whoever publishes it does not know who hears it; whoever
//! subscribes says what matches, how much may wait, and what happens beyond that. A signal changes no state: what is to change one is an
//! event, through a lane ([`Subscribe::into_lane`], [`Subscribe::source`]).
//!
//! ```text
//!  SignalOutlet ──publish──▶ one bounded queue ──▶ dispatcher ──┬─▶ subscriber's queue ──▶ SignalReader: a loop, a thread, a stream
//!  (any thread)              per family            (one thread, ├─▶ subscriber's queue ──▶ Handler on a thread of the bus's
//!                                                   or a loop)  └─▶ subscriber's queue ──▶ a lane
//! ```
//!
//! - Publishing costs the same for one subscriber as for two hundred: fan-out, filters and wake-ups are the dispatcher's. It takes no lock
//!   and allocates nothing. To nobody it costs a look and a count.
//! - Signals of one family have one order, and every subscriber meets them in it: if a publication returned before another began,
//!   its signal is the first of the two. Between families there is no order.
//! - No subscriber can hold up another, nor the main lane. Only in families whose publishers can wait ([`Patient`]) may a subscriber
//!   [block](Subscribe::block), and then for a limited time.
//! - Nothing is lost in silence. A subscriber is told how many signals it [missed](Missed), and which, right where they are missing;
//!   everything is [counted](FamilyStatus) by family and by subscriber, and what is out of the ordinary is a signal itself
//!   ([`BusNotice`]).
//! - Handlers, filters, keys, wakers and hooks may panic: it is contained and counted.
//!
//! ```
//! use std::time::Duration;
//! use mainlane::signal::{Bus, Delivery, Signal};
//! use mainlane::Origin;
//!
//! #[derive(Debug, PartialEq)]
//! enum Build { Started, Failed(u32) }
//!
//! impl Signal for Build {
//!     const FAMILY: &'static str = "build";
//! }
//!
//! let mut running = Bus::builder().start()?;
//! let bus = running.bus();
//! // One part hears of failures alone, on a thread of the bus's; another reads everything by itself.
//! let (seen, failures) = std::sync::mpsc::channel();
//! let lamp = bus
//!     .subscribe::<Build>("lamp")
//!     .filter(|build| matches!(**build, Build::Failed(_)))
//!     .on_thread("lamps", move |build: &mainlane::signal::Sent<Build>| Ok(seen.send(build.number())?))?;
//! let mut log = bus.subscribe::<Build>("log").waiting(1000).reader()?;
//!
//! // And a third knows neither.
//! let outlet = bus.outlet::<Build>(Origin::built_in("builder", 1));
//! outlet.publish(Build::Started)?;
//! outlet.publish(Build::Failed(3))?;
//!
//! assert_eq!(failures.recv()?, 1);
//! let Some(Delivery::Signal { sent, .. }) = log.wait(Duration::from_secs(60)) else { panic!("nothing came") };
//! assert_eq!((sent.signal(), sent.source()), (&Build::Started, Origin::built_in("builder", 1)));
//! drop(lamp);
//! assert!(running.shutdown(Duration::from_secs(5)).complete);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod book; // what a family lists and counts
mod bus; // where one publishes and subscribes
mod dispatcher; // who hands signals on, and when
mod ending; // whose the end of a bus is while another is at work
mod engine; // the engine's diagnostics as signals
mod error; // what can go wrong in setting up
pub(crate) mod family; // one type of signals: what is shared, and the dispatcher's side
mod hand; // the threads that call handlers
mod handler; // what is called there
mod inbox; // one subscriber's signals, under a lock
mod inlet; // from whoever publishes to the dispatcher, without one
mod notice; // what the bus says of itself
mod nowait; // where nobody may wait
mod outlet; // where one publishes
mod policy; // what a subscription states
mod queue; // what becomes of signals for which there is no room
mod reader; // how a subscriber takes its signals
mod sent; // a signal with what the bus knows about it
mod source; // signals as the source of a lane
mod status; // what is counted
mod subscribe; // how a subscription is made

pub use bus::{Bus, BusBuilder};
pub use dispatcher::{Dispatched, Dispatcher, RunningBus};
pub use error::SignalError;
pub use handler::{Handler, HandlerError};
pub use notice::BusNotice;
pub use outlet::{SignalOutlet, TIMED_ALL, Unpublished};
pub use policy::{Full, OnFailure, WAITING, WAITING_MAX};
pub use queue::Missed;
pub use reader::{Delivery, Drained, SignalReader, Waiting};
pub use sent::{Cause, Sent, Shared};
pub use source::SignalSource;
pub use status::{BusReport, FamilyStatus, Gone, SubscriberState, SubscriberStatus};
pub use subscribe::{Subscribe, Subscription};

pub(crate) use engine::cause_of;
#[cfg(feature = "register")]
pub(crate) use hand::{Job, Work};
pub(crate) use nowait::NoWaiting;

pub use crate::backoff::Backoff;

/// A kind of signals: a family. Its type is what one subscribes to.
pub trait Signal: Send + Sync + 'static {
    /// The family's name, for people.
    const FAMILY: &'static str;
    /// How many signals of this family may wait for the dispatcher.
    const CAPACITY: usize = 1024;
}

/// A family whose publishers can wait: its subscribers may [block](Subscribe::block).
///
/// Not for what a main lane publishes, nor anything else that must not stall: whoever publishes in such a family either waits while a
/// blocking subscriber is full, or gets its signal back.
pub trait Patient: Signal {}
