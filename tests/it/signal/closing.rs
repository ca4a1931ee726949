//! Shutdowns, in the middle of everything.

use std::sync::Mutex;
use std::sync::mpsc;

use mainlane::signal::SignalError;

use super::*;
use crate::domain::until;

#[test]
fn what_was_published_before_a_shutdown_is_delivered_and_what_comes_after_is_handed_back() {
    let mut running = Bus::builder().start().unwrap();
    let bus = running.bus().clone();
    let outlet = bus.outlet::<Said>(HERE);
    let mut reader = bus.subscribe::<Said>("one").reader().unwrap();
    let handled = Arc::new(AtomicU64::new(0));
    let counts = handled.clone();
    let handler = move |_: &Sent<Said>| {
        counts.fetch_add(1, SeqCst);
        Ok(())
    };
    bus.subscribe::<Said>("two").on_thread("hands", handler).unwrap().keep();
    (0..5).for_each(|number| outlet.publish(Said(number)).unwrap());
    let report = running.shutdown(PATIENCE);
    assert!(report.complete && report.stragglers.is_empty(), "{report:?}");
    assert_eq!(handled.load(SeqCst), 5);
    assert_eq!(outlet.publish(Said(5)), Err(Unpublished::Closed(Said(5))));
    assert_eq!(all(&mut reader), numbers(0..5));
    assert!(reader.is_over());
    assert_eq!(bus.subscribe::<Said>("late").reader().err(), Some(SignalError::Closed));
    // A family that nobody had named before.
    assert_eq!(bus.outlet::<Asked>(HERE).publish(Asked(1)), Ok(()), "to nobody, which is no error");
    assert_eq!(running.shutdown(PATIENCE).took, report.took, "the same report");
}

#[test]
fn signals_that_race_with_a_shutdown_are_delivered_or_counted() {
    for round in 0..50 {
        let mut running = Bus::builder().start().unwrap();
        let mut reader = running.bus().subscribe::<Said>("one").waiting(10_000).reader().unwrap();
        let go = Arc::new(AtomicBool::new(false));
        let publishing: Vec<_> = (0..2)
            .map(|place| {
                let outlet = running.bus().outlet(Origin::built_in("test", place));
                publish_until_closed(outlet, round * 10, go.clone())
            })
            .collect();
        until("publications", || go.load(SeqCst));
        let report = running.shutdown(PATIENCE);
        assert!(report.complete);
        let accepted: u64 = publishing.into_iter().map(|thread| thread.join().unwrap()).sum();
        let told = std::iter::from_fn(|| reader.next_waiting());
        let (mut delivered, mut missed, mut refused) = (0, 0, 0);
        for delivery in told {
            match delivery {
                Delivery::Signal { .. } => delivered += 1,
                Delivery::Missed(gap) => {
                    missed += gap.count;
                    refused += gap.refused;
                }
            }
        }
        let status = running.bus().status::<Said>();
        assert_eq!(accepted, delivered + missed + status.stranded);
        assert_eq!(status.published, accepted);
        // One that was about to be refused as the bus ended, of each publisher, is counted and told to nobody.
        assert!((refused..=refused + 2).contains(&status.refused), "{refused} of {} were told", status.refused);
    }
}

#[test]
fn a_handler_that_does_not_return_is_named() {
    let mut running = Bus::builder().start().unwrap();
    let release = Arc::new(AtomicBool::new(false));
    let (started, starting) = mpsc::channel();
    let held = release.clone();
    let handler = move |_: &Sent<Said>| {
        started.send(())?;
        until("its release", || held.load(SeqCst));
        Ok(())
    };
    running.bus().subscribe::<Said>("hangs").on_thread("stuck hand", handler).unwrap().keep();
    running.bus().outlet::<Said>(HERE).publish(Said(1)).unwrap();
    starting.recv().unwrap();
    let report = running.shutdown(Duration::ZERO);
    assert_eq!((report.complete, report.stragglers), (false, vec!["stuck hand".to_owned()]));
    release.store(true, SeqCst);
}

#[test]
fn dropping_a_bus_shuts_it_down() {
    let (dispatcher, bus) = bus();
    let mut reader = bus.subscribe::<Said>("one").reader().unwrap();
    bus.outlet::<Said>(HERE).publish(Said(1)).unwrap();
    drop(dispatcher);
    assert_eq!(all(&mut reader), numbers(1..2));
    assert!(reader.is_over() && bus.is_closed());
    assert_eq!(reader.wait(PATIENCE).map(heard), None, "at once");
}

#[test]
fn whoever_waits_is_let_go_by_the_end() {
    let mut running = Bus::builder().start().unwrap();
    let mut reader = running.bus().subscribe::<Said>("one").reader().unwrap();
    let waiting = std::thread::spawn(move || reader.wait(PATIENCE * 10).is_none());
    assert!(running.shutdown(PATIENCE).complete);
    assert!(waiting.join().unwrap());
}

const A_YEAR: Duration = Duration::from_secs(31_536_000);

#[test]
fn a_bus_with_signals_that_beget_signals_can_be_shut_down() {
    let mut running = Bus::builder().start().unwrap();
    let outlet = running.bus().outlet::<Said>(HERE);
    let (its, seen) = (outlet.clone(), Arc::new(AtomicU64::new(0)));
    let count = seen.clone();
    let begets = move |sent: &Sent<Said>| {
        let _ = its.publish(Said(sent.0 + 1));
        count.fetch_add(1, SeqCst) > 0
    };
    let _reader = running.bus().subscribe::<Said>("begets").filter(begets).reader().unwrap();
    outlet.publish(Said(0)).unwrap();
    until("many signals", || seen.load(SeqCst) > 10_000);
    assert!(running.shutdown(PATIENCE).complete);
}

#[test]
fn a_handler_that_shuts_down_the_bus_does_not_wait_for_itself() {
    let running = Arc::new(Mutex::new(Some(Bus::builder().start().unwrap())));
    let (reports, reported) = mpsc::channel();
    let its = running.clone();
    let handler = move |_: &Sent<Said>| {
        if let Some(mut running) = its.lock().unwrap().take() {
            reports.send(running.shutdown(A_YEAR))?;
        }
        Ok(())
    };
    let bus = running.lock().unwrap().as_ref().unwrap().bus().clone();
    let subscription = bus.subscribe::<Said>("quits").on_thread("quitter", handler).unwrap();
    bus.outlet::<Said>(HERE).publish(Said(1)).unwrap();
    let report = reported.recv_timeout(PATIENCE).expect("it waits for itself");
    assert_eq!((report.complete, report.joined, report.stragglers), (false, 1, vec!["quitter".to_owned()]));
    // And then its thread ends, with the handler.
    assert!(reported.recv().is_err());
    assert_eq!(subscription.status().delivered, 1);
}

#[test]
fn a_filter_that_shuts_down_the_bus_does_not_wait_for_itself() {
    let running = Arc::new(Mutex::new(Some(Bus::builder().start().unwrap())));
    let (reports, reported) = mpsc::channel();
    let its = running.clone();
    let filter = move |_: &Sent<Said>| {
        if let Some(mut running) = its.lock().unwrap().take() {
            reports.send(running.shutdown(A_YEAR)).unwrap();
        }
        true
    };
    let bus = running.lock().unwrap().as_ref().unwrap().bus().clone();
    let mut reader = bus.subscribe::<Said>("quits").filter(filter).reader().unwrap();
    bus.outlet::<Said>(HERE).publish(Said(1)).unwrap();
    let report = reported.recv_timeout(PATIENCE).expect("it waits for itself");
    assert_eq!((report.complete, report.stragglers), (false, vec!["signal-bus".to_owned()]));
    assert!(reported.recv().is_err(), "the bus ends after it, and lets go of the filter");
    assert_eq!(all(&mut reader), numbers(1..2));
    assert!(reader.is_over());
}

#[test]
fn a_bus_that_ends_in_the_middle_of_a_direct_publication_is_ended_after_it() {
    let (dispatcher, bus) = bus();
    let (mut kept, its) = (Some(dispatcher), bus.clone());
    let filter = move |_: &Sent<Said>| {
        drop(kept.take());
        its.is_closed()
    };
    let mut reader = bus.subscribe::<Said>("quits").filter(filter).reader().unwrap();
    let (direct, other) = (bus.direct_outlet::<Said>(HERE), bus.outlet::<Asked>(HERE));
    let mut asked = bus.subscribe::<Asked>("others").reader().unwrap();
    other.publish(Asked(1)).unwrap();
    assert_eq!(in_time("a publication", move || direct.publish(Said(1))), Ok(()));
    assert_eq!(all(&mut reader), numbers(1..2));
    assert_eq!(other.publish(Asked(2)), Err(Unpublished::Closed(Asked(2))));
    assert_eq!(asked.next_waiting().unwrap().signal().map(|sent| sent.0), Some(1));
    assert!(reader.is_over() && asked.is_over());
}

#[test]
fn a_loop_that_goes_on_after_the_end_can_sleep() {
    let (mut dispatcher, bus) = bus();
    let _reader = bus.subscribe::<Said>("one").reader().unwrap();
    assert!(dispatcher.shutdown(PATIENCE).complete);
    assert_eq!(dispatch(&mut dispatcher), 0);
    assert!(!dispatcher.arm_input(), "nothing will ever come");
}
