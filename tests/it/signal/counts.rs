//! Everything is accounted for, and told where it is missing: whatever comes, for every policy.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use mainlane::signal::{Backoff, OnFailure, Subscribe, SubscriberStatus};
use proptest::prelude::*;

use super::*;
use crate::domain::until;

/// How a subscription of one policy is made.
type Setting = fn(Subscribe<'_, Asked>) -> SignalReader<Asked>;

const SETTINGS: [Setting; 6] = [
    |subscribe| subscribe.drop_oldest().reader().unwrap(),
    |subscribe| subscribe.drop_newest().reader().unwrap(),
    |subscribe| subscribe.retry(2, Backoff::NONE).reader().unwrap(),
    |subscribe| subscribe.block(Duration::ZERO).reader().unwrap(),
    |subscribe| subscribe.block(PATIENCE).reader().unwrap(),
    |subscribe| subscribe.coalesce_by_key(|sent| sent.0 % 3).reader().unwrap(),
];
/// The one that coalesces.
const COALESCES: usize = 5;

/// One who hears everything, and what came of it.
struct Hearer {
    setting: usize,
    reader: SignalReader<Asked>,
    /// The number after the last one that was accounted for.
    next: Option<u64>,
    signals: u64,
    parts: u64,
    missed: u64,
}

impl Hearer {
    fn new(bus: &Bus, setting: usize, waiting: usize) -> Self {
        let reader = SETTINGS[setting](bus.subscribe("hearer").waiting(waiting));
        Self { setting, reader, next: None, signals: 0, parts: 0, missed: 0 }
    }

    fn read(&mut self, most: usize) {
        for _ in 0..most {
            let (first, last) = match self.reader.next_waiting() {
                None => return,
                Some(Delivery::Signal { sent, parts }) => {
                    self.signals += 1;
                    self.parts += u64::from(parts);
                    (sent.number(), sent.number())
                }
                Some(Delivery::Missed(missed)) => {
                    self.missed += missed.count;
                    if missed.count == 0 {
                        continue;
                    }
                    if self.setting != COALESCES {
                        assert_eq!(missed.last - missed.first + 1, missed.count, "{missed:?}");
                    }
                    (missed.first, missed.last)
                }
            };
            // Every number once, in its place.
            if self.setting != COALESCES {
                assert!(self.next.is_none_or(|next| next == first), "{first} after {:?}", self.next);
            }
            self.next = Some(last + 1);
        }
    }

    fn check(&self) {
        let status = self.reader.status();
        balanced(&status);
        // One may be taken that is handed over after the tidings before it.
        assert!((self.signals..=self.signals + 1).contains(&status.delivered), "{} of {status:?}", self.signals);
    }
}

fn balanced(status: &SubscriberStatus) {
    let sum = status.delivered + status.dropped + status.coalesced + status.depth;
    assert_eq!(status.matched, sum, "{status:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u64),
    Turn(usize),
    Read(usize, usize),
    Join(usize, usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..6_u64).prop_map(Step::Publish),
        6 => (1..9_usize).prop_map(Step::Turn),
        6 => (0..9_usize, 1..6_usize).prop_map(|(who, most)| Step::Read(who, most)),
        2 => (0..SETTINGS.len(), 1..4_usize).prop_map(|(setting, waiting)| Step::Join(setting, waiting)),
        1 => (0..9_usize).prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn every_signal_is_accounted_for_whatever_the_policies(steps in steps(), is_shut_down in any::<bool>()) {
        let (mut dispatcher, bus) = bus();
        let outlet = bus.outlet::<Asked>(HERE);
        let mut hearers: Vec<Hearer> = Vec::new();
        let (mut asked, mut accepted) = (0, 0);
        for step in steps {
            match step {
                Step::Publish(count) => {
                    for _ in 0..count {
                        accepted += u64::from(outlet.publish(Asked(asked)).is_ok());
                        asked += 1;
                    }
                }
                Step::Turn(events) => _ = dispatcher.turn(Budget::events(events)),
                Step::Read(who, most) => {
                    if let Some(hearer) = hearers.get_mut(who) {
                        hearer.read(most);
                    }
                }
                Step::Join(setting, waiting) => hearers.push(Hearer::new(&bus, setting, waiting)),
                Step::Leave(who) => {
                    if who < hearers.len() {
                        hearers.remove(who);
                    }
                }
            }
            hearers.iter().for_each(Hearer::check);
        }
        if is_shut_down {
            prop_assert!(dispatcher.shutdown(Duration::ZERO).complete);
        }
        // Those that block are read until nobody does.
        let is_left = |status: mainlane::signal::FamilyStatus| status.depth + status.subscribers.iter().map(|s| s.depth).sum::<u64>() > 0;
        while is_left(bus.status::<Asked>()) {
            dispatcher.turn(Budget::UNLIMITED);
            hearers.iter_mut().for_each(|hearer| hearer.read(usize::MAX));
        }
        dispatcher.turn(Budget::UNLIMITED);
        let status = bus.status::<Asked>();
        prop_assert_eq!((status.published + status.unheard, status.refused), (accepted, asked - accepted));
        prop_assert_eq!(status.published, status.dispatched + status.depth + status.stranded);
        for hearer in &mut hearers {
            hearer.read(usize::MAX);
            hearer.check();
            let its = hearer.reader.status();
            prop_assert_eq!((its.delivered, its.dropped), (hearer.signals, hearer.missed));
            // One that was dropped stood for others, perhaps.
            prop_assert!(hearer.parts <= its.delivered + its.coalesced && (its.dropped > 0 || hearer.parts == its.matched));
            if its.matched > 0 {
                prop_assert_eq!(hearer.next, Some(status.dispatched), "told of everything up to the last");
            }
        }
        let gone = status.gone;
        prop_assert_eq!(gone.matched, gone.delivered + gone.dropped + gone.coalesced);
    }
}

#[test]
fn what_handlers_were_given_is_done_or_given_up() {
    let tries = |backoff| OnFailure::Retry { tries: 2, backoff };
    let resting = Backoff::between(PATIENCE * 10, PATIENCE * 10);
    for on_failure in [OnFailure::Skip, OnFailure::Detach, tries(Backoff::NONE), tries(resting)] {
        for deadline in [Duration::ZERO, Duration::from_millis(50)] {
            let mut running = Bus::builder().start().unwrap();
            let (done, each) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            let (its, calls) = (done.clone(), each.clone());
            let handler = move |_: &Sent<Said>| match calls.fetch_add(1, SeqCst) % 7 {
                3 => Err("not this one".into()),
                5 => panic!("nor this"),
                _ => {
                    its.fetch_add(1, SeqCst);
                    Ok(())
                }
            };
            let subscription = running
                .bus()
                .subscribe::<Said>("fails")
                .waiting(5)
                .on_failure(on_failure)
                .on_thread("hands", handler)
                .unwrap();
            let outlet = running.bus().outlet::<Said>(HERE);
            let published = (0..200).filter(|number| outlet.publish(Said(*number)).is_ok()).count() as u64;
            running.shutdown(deadline);
            // The one call that may be under way comes to its end.
            until("everything done or given up", || {
                let status = subscription.status();
                balanced(&status);
                status.depth == 0 && status.delivered == done.load(SeqCst) + status.given_up
            });
            let family = running.bus().status::<Said>();
            assert_eq!((family.published + family.unheard, family.depth), (published, 0));
        }
    }
}
