//! What must not compile of views: a state that no main lane has published, and one that is changed.
//!
//! What they have in common does:
//!
//! ```
//! # use mainlane::*;
//! # use std::sync::Arc;
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
//! # let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! # let snapshot = handle.reader().load();
//! # fn show(view: View<'_, Count>) -> Viewed<String> { view.map(|count| count.0.to_string()) }
//! let shown = show(snapshot.view());
//! assert_eq!((shown.as_str(), shown.version()), ("0", snapshot.version()));
//! ```
//!
//! A view is not made of a reference of one's own.
//!
//! ```compile_fail,E0308
//! # use mainlane::*;
//! # use std::sync::Arc;
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
//! # let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! # let snapshot = handle.reader().load();
//! # fn show(view: View<'_, Count>) -> Viewed<String> { view.map(|count| count.0.to_string()) }
//! let mine = Count(9);
//! show(&mine);
//! ```
//!
//! Nor of a snapshot, but by the snapshot itself.
//!
//! ```compile_fail,E0423
//! # use mainlane::*;
//! # use std::sync::Arc;
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
//! # let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! # let snapshot = handle.reader().load();
//! # fn show(view: View<'_, Count>) -> Viewed<String> { view.map(|count| count.0.to_string()) }
//! let view = View(&*snapshot);
//! ```
//!
//! A state that was read can be copied, and what is done to the copy makes no view.
//!
//! ```compile_fail,E0599
//! # use mainlane::*;
//! # use std::sync::Arc;
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
//! # let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! # let snapshot = handle.reader().load();
//! # fn show(view: View<'_, Count>) -> Viewed<String> { view.map(|count| count.0.to_string()) }
//! let mut mine = Count::clone(&snapshot);
//! mine.0 = 9;
//! show(mine.view());
//! ```
//!
//! A snapshot is not made at all.
//!
//! ```compile_fail,E0451
//! # use mainlane::*;
//! # use std::sync::Arc;
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
//! # let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! # let snapshot = handle.reader().load();
//! # fn show(view: View<'_, Count>) -> Viewed<String> { view.map(|count| count.0.to_string()) }
//! let mine = Snapshot { state: Count(9), version: snapshot.version(), stamp: snapshot.stamp(), turn: 1 };
//! ```
//!
//! Nor is a version, which could make an old one look new.
//!
//! ```compile_fail,E0423
//! # use mainlane::*;
//! # use std::sync::Arc;
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
//! # let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! # let snapshot = handle.reader().load();
//! # fn show(view: View<'_, Count>) -> Viewed<String> { view.map(|count| count.0.to_string()) }
//! let version = Version(9);
//! ```
//!
//! A view changes nothing.
//!
//! ```compile_fail,E0594
//! # use mainlane::*;
//! # use std::sync::Arc;
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
//! # let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! # let snapshot = handle.reader().load();
//! # fn show(view: View<'_, Count>) -> Viewed<String> { view.map(|count| count.0.to_string()) }
//! snapshot.view().0 = 1;
//! ```
//!
//! What was made of one is not made without one.
//!
//! ```compile_fail,E0451
//! # use mainlane::*;
//! # use std::sync::Arc;
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
//! # let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! # let snapshot = handle.reader().load();
//! # fn show(view: View<'_, Count>) -> Viewed<String> { view.map(|count| count.0.to_string()) }
//! let mine = Viewed { value: String::new(), version: snapshot.version(), stamp: snapshot.stamp(), turn: 1 };
//! ```
//!
//! Not even an empty one.
//!
//! ```compile_fail,E0277
//! # use mainlane::*;
//! # use std::sync::Arc;
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
//! # let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! # let snapshot = handle.reader().load();
//! # fn show(view: View<'_, Count>) -> Viewed<String> { view.map(|count| count.0.to_string()) }
//! fn empty<T: Default>() {}
//! empty::<Viewed<String>>();
//! ```
//!
//! And stays as it was made.
//!
//! ```compile_fail,E0596
//! # use mainlane::*;
//! # use std::sync::Arc;
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
//! # let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! # let snapshot = handle.reader().load();
//! # fn show(view: View<'_, Count>) -> Viewed<String> { view.map(|count| count.0.to_string()) }
//! let mut shown = show(snapshot.view());
//! shown.push('!');
//! ```
//!
//! A view does not outlive its snapshot.
//!
//! ```compile_fail,E0716
//! # use mainlane::*;
//! # use std::sync::Arc;
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
//! # let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! # let snapshot = handle.reader().load();
//! # fn show(view: View<'_, Count>) -> Viewed<String> { view.map(|count| count.0.to_string()) }
//! let view = handle.reader().load().view();
//! println!("{}", view.turn());
//! ```
//!
//! Nor does what was borrowed from it.
//!
//! ```compile_fail,E0505
//! # use mainlane::*;
//! # use std::sync::Arc;
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
//! # let (_main_lane, handle) = Pipeline::builder(Count(0)).build().unwrap();
//! # let snapshot = handle.reader().load();
//! # fn show(view: View<'_, Count>) -> Viewed<String> { view.map(|count| count.0.to_string()) }
//! let shown = snapshot.view().map(|count| &count.0);
//! drop(snapshot);
//! println!("{}", *shown);
//! ```
