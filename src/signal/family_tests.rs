//! How a family ends.

use super::*;
use crate::origin::Origin;
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
