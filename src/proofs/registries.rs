//! What must not compile of registries: a service that is not what it is registered as, and one that is changed or kept behind
//! the registry's back.
//!
//! What they have in common does:
//!
//! ```
//! # use mainlane::register::*;
//! # use std::sync::Arc;
//! # trait Speaker: Send + Sync { fn say(&self) -> u64; fn learn(&mut self) {} }
//! # trait Silent: Send + Sync {}
//! # trait Unnamed: Send + Sync {}
//! # macro_rules! interface { ($type:ty, $name:expr) => {
//! #     impl Interface for $type {
//! #         type Key = u64;
//! #         const NAME: &'static str = $name;
//! #         const CAPABILITIES: &'static [Need] = &[];
//! #         fn id(key: &u64) -> u64 { *key }
//! #     }
//! # } }
//! # interface!(dyn Speaker, "speaker");
//! # interface!(dyn Silent, "silent");
//! # struct Word;
//! # impl Speaker for Word { fn say(&self) -> u64 { 7 } }
//! # let registries = Registries::new();
//! # let speakers = registries.add::<dyn Speaker>().unwrap();
//! # let silent = registries.add::<dyn Silent>().unwrap();
//! # speakers.register(speakers.offer(1, "word", Arc::new(Word))).unwrap();
//! assert_eq!(speakers.get(&1, "word").map(|word| word.say()), Some(7));
//! ```
//!
//! A service is registered as what it is.
//!
//! ```compile_fail,E0277
//! # use mainlane::register::*;
//! # use std::sync::Arc;
//! # trait Speaker: Send + Sync { fn say(&self) -> u64; fn learn(&mut self) {} }
//! # trait Silent: Send + Sync {}
//! # trait Unnamed: Send + Sync {}
//! # macro_rules! interface { ($type:ty, $name:expr) => {
//! #     impl Interface for $type {
//! #         type Key = u64;
//! #         const NAME: &'static str = $name;
//! #         const CAPABILITIES: &'static [Need] = &[];
//! #         fn id(key: &u64) -> u64 { *key }
//! #     }
//! # } }
//! # interface!(dyn Speaker, "speaker");
//! # interface!(dyn Silent, "silent");
//! # struct Word;
//! # impl Speaker for Word { fn say(&self) -> u64 { 7 } }
//! # let registries = Registries::new();
//! # let speakers = registries.add::<dyn Speaker>().unwrap();
//! # let silent = registries.add::<dyn Silent>().unwrap();
//! # speakers.register(speakers.offer(1, "word", Arc::new(Word))).unwrap();
//! silent.register(silent.offer(1, "word", Arc::new(Word))).unwrap();
//! ```
//!
//! An offer is of one registry's interface, and no other's.
//!
//! ```compile_fail,E0308
//! # use mainlane::register::*;
//! # use std::sync::Arc;
//! # trait Speaker: Send + Sync { fn say(&self) -> u64; fn learn(&mut self) {} }
//! # trait Silent: Send + Sync {}
//! # trait Unnamed: Send + Sync {}
//! # macro_rules! interface { ($type:ty, $name:expr) => {
//! #     impl Interface for $type {
//! #         type Key = u64;
//! #         const NAME: &'static str = $name;
//! #         const CAPABILITIES: &'static [Need] = &[];
//! #         fn id(key: &u64) -> u64 { *key }
//! #     }
//! # } }
//! # interface!(dyn Speaker, "speaker");
//! # interface!(dyn Silent, "silent");
//! # struct Word;
//! # impl Speaker for Word { fn say(&self) -> u64 { 7 } }
//! # let registries = Registries::new();
//! # let speakers = registries.add::<dyn Speaker>().unwrap();
//! # let silent = registries.add::<dyn Silent>().unwrap();
//! # speakers.register(speakers.offer(1, "word", Arc::new(Word))).unwrap();
//! silent.register(speakers.offer(2, "word", Arc::new(Word))).unwrap();
//! ```
//!
//! A key is of the interface's type.
//!
//! ```compile_fail,E0308
//! # use mainlane::register::*;
//! # use std::sync::Arc;
//! # trait Speaker: Send + Sync { fn say(&self) -> u64; fn learn(&mut self) {} }
//! # trait Silent: Send + Sync {}
//! # trait Unnamed: Send + Sync {}
//! # macro_rules! interface { ($type:ty, $name:expr) => {
//! #     impl Interface for $type {
//! #         type Key = u64;
//! #         const NAME: &'static str = $name;
//! #         const CAPABILITIES: &'static [Need] = &[];
//! #         fn id(key: &u64) -> u64 { *key }
//! #     }
//! # } }
//! # interface!(dyn Speaker, "speaker");
//! # interface!(dyn Silent, "silent");
//! # struct Word;
//! # impl Speaker for Word { fn say(&self) -> u64 { 7 } }
//! # let registries = Registries::new();
//! # let speakers = registries.add::<dyn Speaker>().unwrap();
//! # let silent = registries.add::<dyn Silent>().unwrap();
//! # speakers.register(speakers.offer(1, "word", Arc::new(Word))).unwrap();
//! speakers.get(&"1".to_owned(), "word");
//! ```
//!
//! What is no interface has no registry.
//!
//! ```compile_fail,E0277
//! # use mainlane::register::*;
//! # use std::sync::Arc;
//! # trait Speaker: Send + Sync { fn say(&self) -> u64; fn learn(&mut self) {} }
//! # trait Silent: Send + Sync {}
//! # trait Unnamed: Send + Sync {}
//! # macro_rules! interface { ($type:ty, $name:expr) => {
//! #     impl Interface for $type {
//! #         type Key = u64;
//! #         const NAME: &'static str = $name;
//! #         const CAPABILITIES: &'static [Need] = &[];
//! #         fn id(key: &u64) -> u64 { *key }
//! #     }
//! # } }
//! # interface!(dyn Speaker, "speaker");
//! # interface!(dyn Silent, "silent");
//! # struct Word;
//! # impl Speaker for Word { fn say(&self) -> u64 { 7 } }
//! # let registries = Registries::new();
//! # let speakers = registries.add::<dyn Speaker>().unwrap();
//! # let silent = registries.add::<dyn Silent>().unwrap();
//! # speakers.register(speakers.offer(1, "word", Arc::new(Word))).unwrap();
//! registries.get::<dyn Unnamed>();
//! ```
//!
//! A registry is found by its type, not by a name.
//!
//! ```compile_fail,E0107
//! # use mainlane::register::*;
//! # use std::sync::Arc;
//! # trait Speaker: Send + Sync { fn say(&self) -> u64; fn learn(&mut self) {} }
//! # trait Silent: Send + Sync {}
//! # trait Unnamed: Send + Sync {}
//! # macro_rules! interface { ($type:ty, $name:expr) => {
//! #     impl Interface for $type {
//! #         type Key = u64;
//! #         const NAME: &'static str = $name;
//! #         const CAPABILITIES: &'static [Need] = &[];
//! #         fn id(key: &u64) -> u64 { *key }
//! #     }
//! # } }
//! # interface!(dyn Speaker, "speaker");
//! # interface!(dyn Silent, "silent");
//! # struct Word;
//! # impl Speaker for Word { fn say(&self) -> u64 { 7 } }
//! # let registries = Registries::new();
//! # let speakers = registries.add::<dyn Speaker>().unwrap();
//! # let silent = registries.add::<dyn Silent>().unwrap();
//! # speakers.register(speakers.offer(1, "word", Arc::new(Word))).unwrap();
//! registries.get::<dyn Speaker, "speaker">();
//! ```
//!
//! Who finds a service does not change it.
//!
//! ```compile_fail,E0596
//! # use mainlane::register::*;
//! # use std::sync::Arc;
//! # trait Speaker: Send + Sync { fn say(&self) -> u64; fn learn(&mut self) {} }
//! # trait Silent: Send + Sync {}
//! # trait Unnamed: Send + Sync {}
//! # macro_rules! interface { ($type:ty, $name:expr) => {
//! #     impl Interface for $type {
//! #         type Key = u64;
//! #         const NAME: &'static str = $name;
//! #         const CAPABILITIES: &'static [Need] = &[];
//! #         fn id(key: &u64) -> u64 { *key }
//! #     }
//! # } }
//! # interface!(dyn Speaker, "speaker");
//! # interface!(dyn Silent, "silent");
//! # struct Word;
//! # impl Speaker for Word { fn say(&self) -> u64 { 7 } }
//! # let registries = Registries::new();
//! # let speakers = registries.add::<dyn Speaker>().unwrap();
//! # let silent = registries.add::<dyn Silent>().unwrap();
//! # speakers.register(speakers.offer(1, "word", Arc::new(Word))).unwrap();
//! let mut lease = speakers.get(&1, "word").unwrap();
//! lease.learn();
//! ```
//!
//! What a reader has found is let go of before its next look.
//!
//! ```compile_fail,E0499
//! # use mainlane::register::*;
//! # use std::sync::Arc;
//! # trait Speaker: Send + Sync { fn say(&self) -> u64; fn learn(&mut self) {} }
//! # trait Silent: Send + Sync {}
//! # trait Unnamed: Send + Sync {}
//! # macro_rules! interface { ($type:ty, $name:expr) => {
//! #     impl Interface for $type {
//! #         type Key = u64;
//! #         const NAME: &'static str = $name;
//! #         const CAPABILITIES: &'static [Need] = &[];
//! #         fn id(key: &u64) -> u64 { *key }
//! #     }
//! # } }
//! # interface!(dyn Speaker, "speaker");
//! # interface!(dyn Silent, "silent");
//! # struct Word;
//! # impl Speaker for Word { fn say(&self) -> u64 { 7 } }
//! # let registries = Registries::new();
//! # let speakers = registries.add::<dyn Speaker>().unwrap();
//! # let silent = registries.add::<dyn Silent>().unwrap();
//! # speakers.register(speakers.offer(1, "word", Arc::new(Word))).unwrap();
//! let mut reader = speakers.reader("view");
//! let word = reader.get(&1, "word");
//! reader.get(&2, "word");
//! println!("{}", word.is_some());
//! ```
//!
//! A provider is found, not made.
//!
//! ```compile_fail,E0451
//! # use mainlane::register::*;
//! # use std::sync::Arc;
//! # trait Speaker: Send + Sync { fn say(&self) -> u64; fn learn(&mut self) {} }
//! # trait Silent: Send + Sync {}
//! # trait Unnamed: Send + Sync {}
//! # macro_rules! interface { ($type:ty, $name:expr) => {
//! #     impl Interface for $type {
//! #         type Key = u64;
//! #         const NAME: &'static str = $name;
//! #         const CAPABILITIES: &'static [Need] = &[];
//! #         fn id(key: &u64) -> u64 { *key }
//! #     }
//! # } }
//! # interface!(dyn Speaker, "speaker");
//! # interface!(dyn Silent, "silent");
//! # struct Word;
//! # impl Speaker for Word { fn say(&self) -> u64 { 7 } }
//! # let registries = Registries::new();
//! # let speakers = registries.add::<dyn Speaker>().unwrap();
//! # let silent = registries.add::<dyn Silent>().unwrap();
//! # speakers.register(speakers.offer(1, "word", Arc::new(Word))).unwrap();
//! let provider: Provider<dyn Speaker> = Provider { key: 1, ..unreachable!() };
//! ```
//!
//! Nor copied out of the registry, where nobody would know who holds it.
//!
//! ```compile_fail,E0277
//! # use mainlane::register::*;
//! # use std::sync::Arc;
//! # trait Speaker: Send + Sync { fn say(&self) -> u64; fn learn(&mut self) {} }
//! # trait Silent: Send + Sync {}
//! # trait Unnamed: Send + Sync {}
//! # macro_rules! interface { ($type:ty, $name:expr) => {
//! #     impl Interface for $type {
//! #         type Key = u64;
//! #         const NAME: &'static str = $name;
//! #         const CAPABILITIES: &'static [Need] = &[];
//! #         fn id(key: &u64) -> u64 { *key }
//! #     }
//! # } }
//! # interface!(dyn Speaker, "speaker");
//! # interface!(dyn Silent, "silent");
//! # struct Word;
//! # impl Speaker for Word { fn say(&self) -> u64 { 7 } }
//! # let registries = Registries::new();
//! # let speakers = registries.add::<dyn Speaker>().unwrap();
//! # let silent = registries.add::<dyn Silent>().unwrap();
//! # speakers.register(speakers.offer(1, "word", Arc::new(Word))).unwrap();
//! let mut reader = speakers.reader("view");
//! let mine: Provider<dyn Speaker> = Provider::<dyn Speaker>::clone(reader.get(&1, "word").unwrap());
//! ```
//!
//! A service is looked at by many threads.
//!
//! ```compile_fail,E0277
//! # use mainlane::register::*;
//! # use std::sync::Arc;
//! # trait Speaker: Send + Sync { fn say(&self) -> u64; fn learn(&mut self) {} }
//! # trait Silent: Send + Sync {}
//! # trait Unnamed: Send + Sync {}
//! # macro_rules! interface { ($type:ty, $name:expr) => {
//! #     impl Interface for $type {
//! #         type Key = u64;
//! #         const NAME: &'static str = $name;
//! #         const CAPABILITIES: &'static [Need] = &[];
//! #         fn id(key: &u64) -> u64 { *key }
//! #     }
//! # } }
//! # interface!(dyn Speaker, "speaker");
//! # interface!(dyn Silent, "silent");
//! # struct Word;
//! # impl Speaker for Word { fn say(&self) -> u64 { 7 } }
//! # let registries = Registries::new();
//! # let speakers = registries.add::<dyn Speaker>().unwrap();
//! # let silent = registries.add::<dyn Silent>().unwrap();
//! # speakers.register(speakers.offer(1, "word", Arc::new(Word))).unwrap();
//! struct Bad(std::cell::Cell<u64>);
//! impl Speaker for Bad { fn say(&self) -> u64 { self.0.get() } }
//! ```
