//! A host that drives the main lane from a loop of its own: a frame at a time, within a budget, without a thread of
//! mainlane's.
//!
//! `cargo run --example host_loop`

use std::time::{Duration, Instant};

use mainlane::{Budget, Class, Coalesced, Effects, Envelope, Event, Left, Pipeline, Reducer, Tier};

/// What happens in this little game.
enum Happening {
    /// A body moved: only its newest place matters.
    Moved { body: u32, x: f64 },
    /// Two bodies met: never lost.
    Hit { bodies: [u32; 2] },
}

impl Event for Happening {
    type Key = u32;
    type Facets = ();

    fn class(&self) -> Class<u32> {
        match self {
            Happening::Moved { body, .. } => Class::lossy(*body, Tier::VISIBLE),
            Happening::Hit { .. } => Class::Critical,
        }
    }

    fn coalesce(&mut self, newer: Self) -> Coalesced {
        *self = newer;
        Coalesced::Replaced
    }
}

#[derive(Clone, Default)]
struct Scene {
    places: [f64; 4],
    hits: u32,
}

impl Reducer for Scene {
    type Event = Happening;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Happening>, _: &mut Effects<()>) {
        match envelope.event {
            Happening::Moved { body, x } => self.places[*body as usize] = *x,
            Happening::Hit { bodies: [one, other] } => {
                self.hits += 1;
                self.places.swap(*one as usize, *other as usize);
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = Pipeline::builder(Scene::default());
    let mut physics = builder.lane("physics").open()?;
    let (mut main_lane, handle) = builder.build()?;
    let reader = handle.reader();

    // A thread of the host's: two hundred thousand steps, as fast as it can.
    let simulation = std::thread::spawn(move || {
        for step in 0..200_000u32 {
            physics.push(Happening::Moved { body: step % 4, x: f64::from(step) / 1000.0 })?;
            if step % 20_000 == 0 {
                physics.push(Happening::Hit { bodies: [0, 1] })?;
            }
        }
        Ok::<(), mainlane::Refused<Happening>>(())
    });

    let frame = Duration::from_millis(16);
    let mut frames = 0;
    while !simulation.is_finished() || main_lane.turn(Budget::millis(4))?.left == Left::More {
        let due = Instant::now() + frame;
        let turn = main_lane.turn(Budget::millis(4))?;
        let scene = reader.load();
        frames += 1;
        println!("frame {frames}: {} events, bodies at {:?}, {} hits", turn.events, scene.places, scene.hits);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    simulation.join().expect("the simulation does not panic")?;

    let report = main_lane.shutdown(Duration::from_secs(1));
    let events = report.counters.events;
    println!("{} pushed = {} applied + {} replaced", events.pushed, events.applied, events.replaced);
    Ok(())
}
