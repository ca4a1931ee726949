//! How many instructions each part of the engine takes on one thread: what `benches/parts.rs` times, counted by valgrind.
//!
//! Every part does `COUNT` of what its name says, with a host that was in use before: so many pushes, events through one
//! turn, turns, loads. Each checks what came of it. `.ci/speed` runs this, on two commits.

#![expect(missing_docs, reason = "the macros make public items")]

#[path = "../host.rs"]
mod host;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use mainlane::{CachedReader, Event, Lane, MainLane, Pipeline, Publish, Reader};
use speed::COUNT;

use host::{Load, Sum, drain, pipeline, pipeline_of};

/// What a part works on.
struct Host {
    lanes: Vec<Lane<Load>>,
    main_lane: MainLane<Sum>,
    /// How often the part does its work: `COUNT`, unless more is wanted on purpose.
    count: u64,
    /// Events that the next turn must apply.
    unread: usize,
}

impl Host {
    fn new(lanes: usize, clocked: bool, keys: usize, publish: Publish) -> Self {
        let (lanes, main_lane) = pipeline(lanes, clocked, keys, publish);
        Self { lanes, main_lane, count: COUNT, unread: 0 }
    }

    /// Pushes critical events, in turn from all lanes, `run` from each.
    fn fill(&mut self, run: u64) {
        let lanes = self.lanes.len();
        for at in 0..(COUNT / run) as usize {
            let events = (0..run).map(|n| Load::Critical(n, 1));
            assert!(self.lanes[at % lanes].push_batch(events).is_ok());
        }
        self.unread += COUNT as usize;
    }

    /// Pushes one event for each of `keys`.
    fn fill_keys(&mut self, keys: impl Iterator<Item = u32>) {
        for key in keys {
            assert!(self.lanes[0].push(Load::Keyed(key, 1)).is_ok());
            self.unread += 1;
        }
    }

    fn drain(&mut self) {
        assert_eq!(drain(&mut self.main_lane), self.unread);
        self.unread = 0;
    }
}

/// What was pushed is there.
fn drained(mut host: Host) {
    host.drain();
}

/// What a key is updated with, spread over all keys.
fn spread(n: u64, keys: u32) -> u32 {
    (n * 7919 % u64::from(keys)) as u32
}

// Pushing.

fn one_lane(clocked: bool) -> Host {
    let mut host = Host::new(1, clocked, 1, Publish::OnRequest);
    host.fill(1);
    host.drain();
    host
}

/// How far a lane is behind its last look at the room.
const AFTER_A_LOOK: u64 = 30;

/// `SPEED_WASTE` adds so many pushes in a hundred, which `.ci/speed --self-check` wants to see found.
fn wasteful_lane(clocked: bool) -> Host {
    let mut host = one_lane(clocked);
    // A look at the room takes as much as five pushes, and is to come in none of what is added: that is to be so much in a hundred.
    for n in 0..AFTER_A_LOOK {
        assert!(host.lanes[0].push(Load::Critical(n, 1)).is_ok());
    }
    host.unread += AFTER_A_LOOK as usize;
    host.drain();
    let waste = std::env::var("SPEED_WASTE").map_or(0, |percent| percent.parse().expect("a number"));
    host.count += COUNT * waste / 100;
    host
}

/// With an enricher, and a classifier that asks the state.
fn preparing_lane(clocked: bool) -> Host {
    let (lanes, main_lane) = pipeline_of(1, Publish::OnRequest, |lane| {
        let enrich = |event: &mut Load, _: &mut ()| {
            let (Load::Critical(_, value) | Load::Keyed(_, value)) = event;
            *value += 1;
        };
        let lane = lane.enrich(enrich).classify_by(|event, _| event.class());
        if clocked { lane } else { lane.unclocked() }
    });
    let mut host = Host { lanes, main_lane, count: COUNT, unread: 0 };
    host.fill(1);
    host.drain();
    host
}

/// With an unread value in its table.
fn keyed_lane(clocked: bool) -> Host {
    let mut host = one_lane(clocked);
    host.fill_keys(0..1);
    host
}

#[library_benchmark(teardown = drained)]
#[bench::clocked(args = (true), setup = wasteful_lane)]
#[bench::unclocked(args = (false), setup = one_lane)]
#[bench::beside_a_key(args = (true), setup = keyed_lane)]
#[bench::prepared(args = (true), setup = preparing_lane)]
fn one_by_one(mut host: Host) -> Host {
    let lane = &mut host.lanes[0];
    for n in 0..host.count {
        assert!(lane.push(Load::Critical(n, 1)).is_ok());
    }
    host.unread += host.count as usize;
    host
}

fn lane_and_batch(clocked: bool, batch: u64) -> (Host, u64) {
    (one_lane(clocked), batch)
}

#[library_benchmark(setup = lane_and_batch, teardown = drained)]
#[bench::of_16_clocked(true, 16)]
#[bench::of_16_unclocked(false, 16)]
#[bench::of_128_clocked(true, 128)]
#[bench::of_128_unclocked(false, 128)]
#[bench::of_16_prepared(args = (true, 16), setup = preparing_lane_and_batch)]
fn in_batches((mut host, batch): (Host, u64)) -> Host {
    let lane = &mut host.lanes[0];
    for from in (0..host.count).step_by(batch as usize) {
        assert!(lane.push_batch((from..from + batch).map(|n| Load::Critical(n, 1))).is_ok());
    }
    host.unread += host.count as usize;
    host
}

fn preparing_lane_and_batch(clocked: bool, batch: u64) -> (Host, u64) {
    (preparing_lane(clocked), batch)
}

// One event in eight is of a key.
#[library_benchmark(teardown = drained)]
#[bench::of_16(args = (true, 16), setup = lane_and_batch)]
#[bench::of_16_prepared(args = (true, 16), setup = preparing_lane_and_batch)]
fn in_mixed_batches((mut host, batch): (Host, u64)) -> Host {
    let lane = &mut host.lanes[0];
    for from in (0..host.count).step_by(batch as usize) {
        let event = |n| if n % 8 == 7 { Load::Keyed(0, n) } else { Load::Critical(n, 1) };
        assert!(lane.push_batch((from..from + batch).map(event)).is_ok());
    }
    host.unread += (host.count - host.count / 8 + 1) as usize;
    host
}

// Turns.

fn filled(lanes: usize, clocked: bool, run: u64) -> Host {
    let mut host = Host::new(lanes, clocked, 1, Publish::OnRequest);
    host.fill(run);
    host.drain();
    host.fill(run);
    host
}

fn filled_with_single_events(lanes: usize) -> Host {
    filled(lanes, true, 1)
}

fn filled_with_runs(lanes: usize) -> Host {
    filled(lanes, true, 8)
}

fn filled_with_runs_unclocked(lanes: usize) -> Host {
    filled(lanes, false, 8)
}

#[library_benchmark(setup = filled_with_single_events)]
#[bench::from_1_lane(1)]
#[bench::from_4_lanes(4)]
#[bench::from_16_lanes(16)]
#[bench::from_64_lanes(64)]
fn of_single_events(mut host: Host) -> Host {
    host.drain();
    host
}

#[library_benchmark(setup = filled_with_runs)]
#[bench::from_1_lane(1)]
#[bench::from_4_lanes(4)]
#[bench::from_16_lanes(16)]
#[bench::from_64_lanes(64)]
fn of_runs_of_8(mut host: Host) -> Host {
    host.drain();
    host
}

// The same lanes without an order between them.
#[library_benchmark(setup = filled_with_runs_unclocked)]
#[bench::from_4_lanes(4)]
#[bench::from_64_lanes(64)]
fn of_runs_of_8_unclocked(mut host: Host) -> Host {
    host.drain();
    host
}

fn idle(lanes: usize) -> Host {
    let mut host = Host::new(lanes, true, 1, Publish::EveryTurn);
    host.drain();
    host
}

#[library_benchmark(setup = idle)]
#[bench::from_no_lane(0)]
#[bench::from_1_lane(1)]
#[bench::from_4_lanes(4)]
#[bench::from_16_lanes(16)]
#[bench::from_64_lanes(64)]
fn of_nothing(mut host: Host) -> Host {
    for _ in 0..host.count {
        assert_eq!(drain(black_box(&mut host.main_lane)), 0);
    }
    host
}

fn publishing(publish: Publish) -> Host {
    let mut host = Host::new(1, true, 1, publish);
    host.fill(1);
    host.drain();
    host
}

// With the push that it needs.
#[library_benchmark(setup = publishing)]
#[bench::applied(Publish::OnRequest)]
#[bench::applied_and_published(Publish::EveryTurn)]
fn of_one_event(mut host: Host) -> Host {
    for n in 0..host.count {
        assert!(host.lanes[0].push(Load::Critical(n, 1)).is_ok());
        assert_eq!(drain(&mut host.main_lane), 1);
    }
    host
}

// Loading.

fn reader() -> (Reader<Sum>, Host) {
    let builder = Pipeline::builder(Sum::default());
    let lanes = vec![builder.lane("a").open().expect("not built yet")];
    let (main_lane, handle) = builder.build().expect("settings are in range");
    let mut host = Host { lanes, main_lane, count: COUNT, unread: 0 };
    host.fill(1);
    host.drain();
    (handle.reader(), host)
}

fn cached_reader() -> (CachedReader<Sum>, Host) {
    let (reader, host) = reader();
    let mut cached = reader.cached();
    assert_eq!(cached.load().events, COUNT);
    (cached, host)
}

#[library_benchmark(setup = reader)]
#[bench::of_the_newest()]
fn full((reader, host): (Reader<Sum>, Host)) -> (Reader<Sum>, Host) {
    for _ in 0..host.count {
        assert_eq!(black_box(&reader).load().events, COUNT);
    }
    (reader, host)
}

#[library_benchmark(setup = cached_reader)]
#[bench::of_the_newest()]
fn cached((mut reader, host): (CachedReader<Sum>, Host)) -> (CachedReader<Sum>, Host) {
    for _ in 0..host.count {
        assert_eq!(black_box(&mut reader).load().events, COUNT);
    }
    (reader, host)
}

// Keys. Each has had a value before.

fn keyed(keys: u32) -> (Host, u32) {
    let mut host = Host::new(1, true, keys as usize, Publish::OnRequest);
    host.fill_keys(0..keys);
    host.drain();
    // Finds all the slots that have come back, as it must only once.
    host.fill_keys(0..2);
    host.drain();
    (host, keys)
}

fn with_all_unread(keys: u32) -> (Host, u32) {
    let (mut host, keys) = keyed(keys);
    host.fill_keys(0..keys);
    (host, keys)
}

fn with_some_unread(keys: u32) -> Host {
    let (mut host, keys) = keyed(keys);
    host.fill_keys((0..COUNT).map(|n| spread(n, keys)));
    host
}

fn push_keys(host: &mut Host, keys: u32, first: u32) {
    let lane = &mut host.lanes[0];
    for n in 0..host.count {
        assert!(lane.push(Load::Keyed(first + spread(n, keys), n)).is_ok());
    }
}

#[library_benchmark(setup = keyed, teardown = drained)]
#[bench::of_1000(1_000)]
#[bench::of_100000(100_000)]
fn inserted((mut host, keys): (Host, u32)) -> Host {
    push_keys(&mut host, keys, 0);
    host.unread += host.count as usize;
    host
}

#[library_benchmark(setup = with_all_unread, teardown = drained)]
#[bench::of_10(10)]
#[bench::of_1000(1_000)]
#[bench::of_100000(100_000)]
fn replaced((mut host, keys): (Host, u32)) -> Host {
    push_keys(&mut host, keys, 0);
    host
}

// Keys that there is no room for.
#[library_benchmark(setup = with_all_unread, teardown = drained)]
#[bench::of_1000(1_000)]
fn instead_of_another((mut host, keys): (Host, u32)) -> Host {
    push_keys(&mut host, keys, keys);
    host
}

#[library_benchmark(setup = with_some_unread)]
#[bench::of_1000(1_000)]
#[bench::of_100000(100_000)]
fn taken(mut host: Host) -> Host {
    host.drain();
    host
}

library_benchmark_group!(name = push, benchmarks = [one_by_one, in_batches, in_mixed_batches]);
library_benchmark_group!(
    name = turn,
    benchmarks = [of_single_events, of_runs_of_8, of_runs_of_8_unclocked, of_nothing, of_one_event]
);
library_benchmark_group!(name = load, benchmarks = [full, cached]);
library_benchmark_group!(name = key, benchmarks = [inserted, replaced, instead_of_another, taken]);
main!(library_benchmark_groups = [push, turn, load, key]);
