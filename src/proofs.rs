//! What must not compile, each with the error that says so: `Send` and `Sync` bounds, ends that are not shared or cloned, and
//! state that only the main lane can change. Read by the documentation tests alone.
//!
//! A first block shows that what they have in common does compile:
//!
//! ```
//! use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! struct Tick(u64);
//! impl Event for Tick {
//!     type Key = u64;
//!     type Facets = ();
//!     fn class(&self) -> Class<u64> { Class::Critical }
//! }
//! #[derive(Clone, Default)]
//! struct Count(u64);
//! impl Reducer for Count {
//!     type Event = Tick;
//!     type Effect = ();
//!     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! }
//! fn sent<T: Send>() {}
//! fn shared<T: Sync>() {}
//! fn cloned<T: Clone>() {}
//! sent::<Lane<Tick>>(); sent::<MainLane<Count>>(); shared::<Reader<Count>>(); cloned::<Reader<Count>>();
//! ```
//!
//! An event is sent to the main lane, so it holds no `Rc`.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! struct Bad(Rc<u64>);
//! impl Event for Bad {
//!     type Key = u64;
//!     type Facets = ();
//!     fn class(&self) -> Class<u64> { Class::Critical }
//! }
//! ```
//!
//! Nor a lock guard.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! struct Bad(MutexGuard<'static, u64>);
//! impl Event for Bad {
//!     type Key = u64;
//!     type Facets = ();
//!     fn class(&self) -> Class<u64> { Class::Critical }
//! }
//! ```
//!
//! Its key stays on the lane, which may move to another thread.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! struct Bad;
//! impl Event for Bad {
//!     type Key = Rc<u64>;
//!     type Facets = ();
//!     fn class(&self) -> Class<Rc<u64>> { Class::Critical }
//! }
//! ```
//!
//! A state is read by many threads at once, so it holds no `Cell`.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! #[derive(Clone)]
//! struct Bad(Cell<u64>);
//! impl Reducer for Bad {
//!     type Event = Tick;
//!     type Effect = ();
//!     fn apply(&mut self, _: &Envelope<'_, Tick>, _: &mut Effects<()>) {}
//! }
//! ```
//!
//! Facets travel with the event and are read from snapshots.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! #[derive(Clone, Default)]
//! struct Bad(Option<Rc<str>>);
//! impl Facets for Bad {
//!     fn fill(&mut self, _: &Self) {}
//! }
//! ```
//!
//! An effect is carried by the main lane.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! #[derive(Clone)]
//! struct Bad;
//! impl Reducer for Bad {
//!     type Event = Tick;
//!     type Effect = Rc<u64>;
//!     fn apply(&mut self, _: &Envelope<'_, Tick>, _: &mut Effects<Rc<u64>>) {}
//! }
//! ```
//!
//! A source runs on a thread of its own.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! struct Bad(Rc<u64>);
//! impl Source for Bad {
//!     type Event = Tick;
//!     fn poll(&mut self, _: &mut Outlet<Tick>) -> Result<Polled, SourceError> { Ok(Polled::Done) }
//! }
//! ```
//!
//! So does a reconciler.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! let not_sent = Rc::new(1);
//! let _ = Pipeline::builder(Count(0)).reconciler(move |_: (), _: &Count| drop(not_sent.clone()));
//! ```
//!
//! And a wake hook.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! let not_sent = Rc::new(1);
//! let _ = handle.waking_reader(move || drop(not_sent.clone()));
//! ```
//!
//! A lane has one producer: it is not shared.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! shared::<Lane<Tick>>();
//! ```
//!
//! Nor cloned.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! cloned::<Lane<Tick>>();
//! ```
//!
//! There is one main lane.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! cloned::<MainLane<Count>>();
//! ```
//!
//! And it is driven by one thread at a time.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! shared::<MainLane<Count>>();
//! ```
//!
//! A feeder has one callback.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! cloned::<Feeder<u8>>();
//! ```
//!
//! And is not shared.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! shared::<Feeder<u8>>();
//! ```
//!
//! A reader cannot change the state.
//!
//! ```compile_fail,E0594
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! handle.reader().load().0 = 1;
//! ```
//!
//! Neither can a cached one.
//!
//! ```compile_fail,E0594
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! handle.reader().cached().load().0 = 1;
//! ```
//!
//! Nor whoever holds the main lane: events alone do.
//!
//! ```compile_fail,E0594
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! let (main_lane, _handle) = Pipeline::builder(Count(0)).build().unwrap();
//! main_lane.state().0 = 1;
//! ```
//!
//! An envelope does not outlive the turn.
//!
//! ```compile_fail,E0521
//! # use mainlane::*;
//! # use std::{cell::Cell, rc::Rc, sync::{Mutex, MutexGuard}};
//! # struct Tick(u64);
//! # impl Event for Tick {
//! #     type Key = u64;
//! #     type Facets = ();
//! #     fn class(&self) -> Class<u64> { Class::Critical }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Count(u64);
//! # impl Reducer for Count {
//! #     type Event = Tick;
//! #     type Effect = ();
//! #     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.0 += envelope.event.0 }
//! # }
//! # fn sent<T: Send>() {}
//! # fn shared<T: Sync>() {}
//! # fn cloned<T: Clone>() {}
//! #[derive(Clone)]
//! struct Bad;
//! static KEPT: Mutex<Option<&'static Tick>> = Mutex::new(None);
//! impl Reducer for Bad {
//!     type Event = Tick;
//!     type Effect = ();
//!     fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) {
//!         *KEPT.lock().unwrap() = Some(envelope.event);
//!     }
//! }
//! ```

#[cfg(feature = "register")]
mod registries;
mod views;
