//! Everything is accounted for, and told where it is missing: whatever comes, for every policy.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::thread;

use mainlane::signal::{Backoff, OnFailure, SignalError, Subscribe, SubscriberState, SubscriberStatus};
use proptest::prelude::*;

use super::*;
use crate::domain::until;

/// How a subscription of one policy is made.
type Setting = fn(Subscribe<'_, Asked>) -> Result<SignalReader<Asked>, SignalError>;

const SETTINGS: [Setting; 6] = [
    |subscribe| subscribe.drop_oldest().reader(),
    |subscribe| subscribe.drop_newest().reader(),
    |subscribe| subscribe.retry(2, Backoff::NONE).reader(),
    |subscribe| subscribe.block(Duration::ZERO).reader(),
    |subscribe| subscribe.block(PATIENCE).reader(),
    |subscribe| subscribe.coalesce_by_key(|sent| sent.0 % 3).reader(),
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
    fn new(bus: &Bus, setting: usize, waiting: usize) -> Result<Self, SignalError> {
        let reader = SETTINGS[setting](bus.subscribe("hearer").waiting(waiting))?;
        Ok(Self { setting, reader, next: None, signals: 0, parts: 0, missed: 0 })
    }

    fn read(&mut self, most: usize) {
        for _ in 0..most {
            let Some(delivery) = self.reader.next_waiting() else { return };
            self.hear(&delivery);
        }
    }

    fn hear(&mut self, delivery: &Delivery<Asked>) {
        let (first, last) = match delivery {
            Delivery::Signal { sent, parts } => {
                self.signals += 1;
                self.parts += u64::from(*parts);
                (sent.number(), sent.number())
            }
            Delivery::Missed(missed) => {
                self.missed += missed.count;
                if missed.count == 0 {
                    return;
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
                Step::Join(setting, waiting) => hearers.push(Hearer::new(&bus, setting, waiting).unwrap()),
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

/// Numbers without a pattern, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// What one who publishes was told.
#[derive(Default)]
struct Told {
    accepted: u64,
    refused: u64,
}

impl Told {
    fn note<T>(&mut self, outcome: Result<(), Unpublished<T>>) {
        match outcome {
            Ok(()) => self.accepted += 1,
            Err(Unpublished::Closed(_)) => {}
            Err(_) => self.refused += 1,
        }
    }
}

/// Publishes in every way there is, one of them given up midway.
fn publish_at_random(outlet: &SignalOutlet<Asked>, signals: u64, mut dice: Dice) -> Told {
    let mut told = Told::default();
    for number in 0..signals {
        match dice.below(4) {
            0 => told.note(outlet.publish_within(Duration::from_micros(200), Cause::NONE, Asked(number))),
            1 => {
                let publication = pin!(outlet.publish_async(Cause::NONE, Asked(number)));
                if let Poll::Ready(outcome) = publication.poll(&mut Context::from_waker(Waker::noop())) {
                    told.note(outcome);
                }
            }
            2 => told.note(outlet.clone().publish(Asked(number))),
            _ => told.note(outlet.publish(Asked(number))),
        }
    }
    told
}

/// Hears in every way there is, comes and goes, and stays in the end for as long as the bus is there.
fn hear_at_random(bus: &Bus, visits: u64, mut dice: Dice) -> Option<Hearer> {
    for visit in 0..=visits {
        let setting = dice.below(SETTINGS.len() as u64) as usize;
        let mut hearer = Hearer::new(bus, setting, 1 + dice.below(5) as usize).ok()?;
        for _ in 0..dice.below(60) {
            match dice.below(4) {
                0 => {
                    let Hearer { reader, .. } = &mut hearer;
                    let mut heard = Vec::new();
                    let _ = reader.drain(Budget::events(1 + visit as usize), |delivery| heard.push(delivery.clone()));
                    heard.iter().for_each(|delivery| hearer.hear(delivery));
                }
                1 => {
                    let next = hearer.reader.wait(Duration::from_micros(100));
                    next.iter().for_each(|delivery| hearer.hear(delivery));
                }
                2 => {
                    let poll = pin!(hearer.reader.next()).poll(&mut Context::from_waker(Waker::noop()));
                    if let Poll::Ready(Some(delivery)) = poll {
                        hearer.hear(&delivery);
                    }
                }
                _ => hearer.read(3),
            }
            hearer.check();
        }
        if visit == visits {
            while let Some(delivery) = hearer.reader.wait(PATIENCE) {
                hearer.hear(&delivery);
            }
            assert!(hearer.reader.is_over(), "the bus has ended");
            return Some(hearer);
        }
    }
    None
}

/// Has handlers that fail in every way there is, and publish in their turn; some are dropped. Those that are left, and what they got done.
fn handle_at_random(
    bus: &Bus,
    mut dice: Dice,
    said: &Arc<[AtomicU64; 2]>,
) -> Vec<(mainlane::signal::Subscription<Asked>, Arc<AtomicU64>)> {
    let mut kept = Vec::new();
    for _ in 0..8 {
        let done = Arc::new(AtomicU64::new(0));
        let (outlet, its, said) = (bus.direct_outlet::<Said>(HERE), done.clone(), said.clone());
        let mut fate = Dice(dice.below(u64::MAX));
        let handler = move |sent: &Sent<Asked>| {
            match outlet.publish(Said(sent.0)) {
                Ok(()) => _ = said[0].fetch_add(1, SeqCst),
                Err(Unpublished::Closed(_)) => {}
                Err(_) => _ = said[1].fetch_add(1, SeqCst),
            }
            match fate.below(6) {
                0 => return Err("not this one".into()),
                1 => panic!("nor this"),
                _ => its.fetch_add(1, SeqCst),
            };
            Ok(())
        };
        let on_failure = match dice.below(3) {
            0 => OnFailure::Skip,
            1 => OnFailure::Retry { tries: 2, backoff: Backoff::NONE },
            _ => OnFailure::Detach,
        };
        let thread = ["some hands", "others"][dice.below(2) as usize];
        let waiting = 1 + dice.below(9) as usize;
        match bus.subscribe::<Asked>("handler").waiting(waiting).on_failure(on_failure).on_thread(thread, handler) {
            Ok(subscription) if dice.below(2) == 0 => kept.push((subscription, done)),
            _ => thread::yield_now(),
        }
    }
    kept
}

#[test]
fn every_count_is_right_whoever_comes_and_goes_and_wherever_the_bus_ends() {
    for round in 1..=24_u64 {
        let mut dice = Dice(round);
        // Accepted and refused, of what handlers published.
        let said: Arc<[AtomicU64; 2]> = Default::default();
        thread::scope(|scope| {
            // In here, so that what fails ends the bus, and whoever waits for that.
            let mut running = Bus::builder().start().unwrap();
            let bus = &running.bus().clone();
            let publishing: Vec<_> = (0..4)
                .map(|place| {
                    let source = Origin::built_in("test", place);
                    let outlet = if place % 2 == 0 { bus.outlet(source) } else { bus.direct_outlet(source) };
                    let dice = Dice(dice.below(u64::MAX));
                    scope.spawn(move || publish_at_random(&outlet, 400, dice))
                })
                .collect();
            let hearing: Vec<_> = (0..4)
                .map(|_| {
                    let (bus, dice) = (bus.clone(), Dice(dice.below(u64::MAX)));
                    scope.spawn(move || hear_at_random(&bus, 5, dice))
                })
                .collect();
            let looked_at = bus.clone();
            let looking = scope.spawn(move || {
                while !looked_at.is_closed() {
                    looked_at.families().iter().flat_map(|family| &family.subscribers).for_each(balanced);
                }
            });
            let mut listener = bus.subscribe::<Said>("listener").waiting(3).reader().unwrap();
            let handlers = handle_at_random(bus, Dice(dice.below(u64::MAX)), &said);
            if round % 2 == 0 {
                until("everything published", || publishing.iter().all(|thread| thread.is_finished()));
            }
            let report = running.shutdown(PATIENCE);
            assert!(report.complete, "{report:?}");
            let told: Vec<_> = publishing.into_iter().map(|thread| thread.join().unwrap()).collect();
            let hearers: Vec<_> = hearing.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
            looking.join().unwrap();

            let asked = bus.status::<Asked>();
            assert_eq!(asked.published + asked.unheard, told.iter().map(|told| told.accepted).sum::<u64>());
            assert_eq!(asked.refused, told.iter().map(|told| told.refused).sum::<u64>());
            let says = bus.status::<Said>();
            assert_eq!(
                [says.published + says.unheard, says.refused],
                [&said[0], &said[1]].map(|count| count.load(SeqCst))
            );
            for family in bus.families() {
                assert_eq!(family.published, family.dispatched + family.stranded, "{family:?}");
                assert_eq!(family.depth, 0);
                family.subscribers.iter().for_each(balanced);
                let gone = family.gone;
                assert_eq!(gone.matched, gone.delivered + gone.dropped + gone.coalesced, "{gone:?}");
            }
            for hearer in &hearers {
                let its = hearer.reader.status();
                assert_eq!((its.delivered, its.dropped, its.depth), (hearer.signals, hearer.missed, 0));
                assert!(hearer.next.is_none_or(|next| next == asked.dispatched), "told of everything up to the last");
            }
            for (subscription, done) in &handlers {
                let its = subscription.status();
                assert_eq!((its.delivered, its.depth), (done.load(SeqCst) + its.given_up, 0), "{its:?}");
                assert_eq!(its.failures, its.retries + its.given_up, "{its:?}");
                assert!(matches!(its.state, SubscriberState::Ended | SubscriberState::Detached));
            }
            let mut heard = (0, 0);
            while let Some(delivery) = listener.next_waiting() {
                match delivery {
                    Delivery::Signal { .. } => heard.0 += 1,
                    Delivery::Missed(missed) => heard.1 += missed.count,
                }
            }
            let its = listener.status();
            assert_eq!((its.delivered, its.dropped, its.matched), (heard.0, heard.1, says.dispatched));
        });
    }
}
