//! A host that leaves the main lane to a thread of mainlane's, polls a timer on another, and is called back when there is
//! something new to show.
//!
//! `cargo run --example own_thread`

use std::sync::mpsc;
use std::time::Duration;

use mainlane::{Class, Drive, Effects, Envelope, Event, Pipeline, Reducer, TimerSource};

struct Tick(u64);

impl Event for Tick {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

#[derive(Clone, Default)]
struct Clock {
    ticks: u64,
    newest: u64,
}

impl Reducer for Clock {
    type Event = Tick;
    type Effect = u64;

    fn apply(&mut self, envelope: &Envelope<'_, Tick>, effects: &mut Effects<u64>) {
        let Tick(n) = *envelope.event;
        self.ticks += 1;
        self.newest = n;
        if n.is_multiple_of(5) {
            // Whatever touches the world outside the state is asked for here, and done after the turn.
            effects.push(n);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder =
        Pipeline::builder(Clock::default()).reconciler(|n: u64, _: &Clock| println!("  five more ticks, up to {n}"));
    let mut n = 0;
    let tick = move || {
        n += 1;
        Tick(n)
    };
    builder.ingest("timer", TimerSource::every(Duration::from_millis(20), tick)).start()?;
    let (main_lane, handle) = builder.build()?;
    let mut running = main_lane.spawn(Drive::new())?;

    // Any hook will do: an event-loop proxy, a repaint request. Here it is a channel.
    let (call, called) = mpsc::channel();
    let reader = handle.waking_reader(move || {
        let _ = call.send(());
    })?;
    loop {
        called.recv()?;
        let clock = reader.load();
        println!("{} ticks", clock.ticks);
        if clock.newest >= 12 {
            break;
        }
    }
    let report = running.shutdown(Duration::from_secs(1));
    println!("complete: {}, threads joined: {}", report.complete, report.joined);
    Ok(())
}
