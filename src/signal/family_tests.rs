//! How a family ends, and who leaves it in the middle of a turn.

use super::*;
use crate::main_lane::budget::Budget;
use crate::origin::Origin;
use crate::signal::policy::Full;
use crate::signal::sent::Cause;
use crate::signal::{Bus, Delivery, Patient};

struct Late(u64);

impl Signal for Late {
    const FAMILY: &'static str = "late";
    const CAPACITY: usize = 4 * BATCH;
}

impl Patient for Late {}

/// I3. A subscriber that blocks has most of the signals still wait as the bus ends.
#[test]
fn a_publisher_that_comes_late_counts_nothing_that_was_there_before_it() {
    const SIGNALS: u64 = 3 * BATCH as u64;
    let source = Origin::built_in("test", 0);
    let (mut dispatcher, bus) = Bus::builder().build();
    let (hub, mut is_late) = (bus.family::<Late>(), true);
    let filter = move |sent: &Sent<Late>| {
        if sent.0 > 0 && std::mem::take(&mut is_late) {
            let entry = Entry { signal: Late(SIGNALS), source, cause: Cause::NONE, published: None };
            assert!(hub.inlet.put_late(entry).is_ok());
        }
        true
    };
    let _blocks = bus.subscribe::<Late>("blocks").waiting(1).block(Duration::MAX).reader().unwrap();
    let mut reader = bus.subscribe::<Late>("all").waiting(1_000).filter(filter).reader().unwrap();
    let outlet = bus.outlet::<Late>(source);
    (0..SIGNALS).for_each(|number| assert!(outlet.publish(Late(number)).is_ok()));
    assert!(dispatcher.shutdown(Duration::ZERO).complete);
    let heard: Vec<_> = std::iter::from_fn(|| reader.next_waiting())
        .map(
            |delivery| {
                if let Delivery::Signal { sent, .. } = delivery { sent.0 } else { panic!("something is missing") }
            },
        )
        .collect();
    assert_eq!(heard, (0..=SIGNALS).collect::<Vec<_>>());
    assert_eq!(bus.status::<Late>().stranded, 0);
}

/// Leaves as it is asked for room, of which it has none.
struct Leaves {
    inbox: Arc<Inbox<Late, ()>>,
    is_gone: bool,
}

impl Subscriber<Late> for Leaves {
    fn mail(&self) -> Arc<dyn Mail<Late>> {
        self.inbox.clone()
    }

    fn offer(&mut self, _: &Batch<Late>, _: u64, _: &Turning<'_>) -> bool {
        self.is_open()
    }

    fn room(&mut self, is_wanted: bool, turn: &Turning<'_>) -> (usize, Option<Instant>) {
        if self.is_gone || !is_wanted {
            return (usize::MAX, None);
        }
        self.is_gone = true;
        self.inbox.leave();
        (0, Some(turn.now + Duration::from_secs(3_600)))
    }

    fn blocks(&self) -> bool {
        true
    }

    fn keeps_aside(&self) -> bool {
        false
    }

    fn is_open(&self) -> bool {
        self.inbox.is_open()
    }

    fn look_aside(&mut self, _: &Turning<'_>) -> Option<Instant> {
        None
    }

    fn end(&self) {}
}

#[test]
fn who_blocks_and_leaves_in_the_middle_of_a_turn_holds_up_nobody() {
    let (mut dispatcher, bus) = Bus::builder().build();
    let hub = bus.family::<Late>();
    let mut reader = bus.subscribe::<Late>("reads").reader().unwrap();
    let inbox = Arc::new(Inbox::new("leaves".into(), Full::DropNewest, 1, hub.caller()));
    hub.join(Box::new(Leaves { inbox, is_gone: false }));
    dispatcher.turn(Budget::UNLIMITED);
    assert!(bus.outlet::<Late>(Origin::built_in("test", 0)).publish(Late(0)).is_ok());
    assert_eq!(dispatcher.turn(Budget::UNLIMITED).signals, 0, "somebody has no room");
    assert!(dispatcher.arm_input(), "and is gone");
    assert_eq!(dispatcher.turn(Budget::UNLIMITED).signals, 1);
    assert!(reader.next_waiting().is_some());
}

#[test]
fn who_reads_just_as_its_patience_ends_is_waited_for() {
    let (_dispatcher, bus) = Bus::builder().build();
    let block = Full::Block { patience: Duration::ZERO };
    let inbox = Inbox::<Late, ()>::new("reads".into(), block, 1, bus.family::<Late>().caller());
    // It was found full before, and is empty now.
    assert!(!inbox.suspend());
    assert_eq!(inbox.room(), 1);
}
