//! From whoever publishes to the dispatcher: `signal/inlet.rs`, with the bell and the mailbox of subscriptions.
//!
//! Modelled: publishers that race with the end of a bus; a subscription that is made, told of, and published for; a dispatcher that
//! sleeps until a signal comes, or a refusal. In every execution each signal that was accepted is taken or counted as stranded, is taken if it was
//! put in before the inlet was closed, whoever comes late, and reaches whoever subscribed before; one that was refused is known to the
//! dispatcher before it sleeps for good.
//!
//! Bounds: two publishers beside the dispatcher with at most three preemptions, one in full. A few seconds.
//!
//! Must make it fail: either barrier taken away (B1), a dispatcher that looks for subscriptions before it takes a signal, and one that
//! calls the end before it has taken what there is, which are control arms; an end without a last look; a publisher that does not look
//! at the stage again.

use std::sync::atomic::{AtomicUsize, Ordering as Plain};

use crate::mailbox::Mailbox;
use crate::signal_files::inlet::Inlet;
use crate::sync::{
    Arc, AtomicBool,
    Ordering::{Acquire, Release},
    StoreLoad,
};
use crate::wake_files::Bell;
use loom::thread;

fn silent() -> Arc<Bell> {
    Arc::new(Bell::new(StoreLoad::detect(), || {}))
}

fn take_all(inlet: &Inlet<u32>) -> u64 {
    std::iter::from_fn(|| inlet.take()).count() as u64
}

/// How a signal is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Putting {
    /// With the bell rung for the dispatcher.
    Ringing,
    /// By one who sees to it himself that it is taken.
    Silent,
}

/// What the publishers were told was accepted is delivered or counted, however they race with the end (I2).
pub fn an_end_in_the_middle(publishers: u32, putting: Putting) {
    let (inlet, bell) = (Arc::new(Inlet::<u32>::new(2)), silent());
    let accepted = std::sync::Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..publishers)
        .map(|signal| {
            let (inlet, bell, accepted) = (inlet.clone(), bell.clone(), accepted.clone());
            thread::spawn(move || {
                let put = match putting {
                    Putting::Ringing => inlet.put(signal, &bell),
                    Putting::Silent => inlet.put_in_silence(signal, StoreLoad::detect()),
                };
                if put.is_ok() {
                    accepted.fetch_add(1, Plain::Relaxed);
                }
            })
        })
        .collect();
    inlet.close();
    let mut delivered = take_all(&inlet);
    inlet.end(StoreLoad::detect());
    delivered += take_all(&inlet);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let accepted = accepted.load(Plain::Relaxed) as u64;
    assert_eq!(accepted, delivered + inlet.stranded(), "a signal was accepted, and is neither delivered nor counted");
}

/// When the dispatcher takes what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// As the dispatcher does.
    BeforeTheEndAndAfter,
    /// Whoever comes late finds what was there before, and counts it as stranded.
    AfterTheEnd,
}

/// What was put in before the inlet was closed is delivered, whoever comes late (I3).
pub fn before_the_end(taking: Taking) {
    let (inlet, bell) = (Arc::new(Inlet::<u32>::new(2)), silent());
    let done = Arc::new(AtomicBool::new(false));
    let (publishing, finished, rings) = (inlet.clone(), done.clone(), bell.clone());
    let early = thread::spawn(move || {
        assert!(publishing.put(1, &rings).is_ok() || !finished.load(Acquire));
        finished.store(true, Release);
    });
    let publishing = inlet.clone();
    let late = thread::spawn(move || drop(publishing.put(2, &bell)));
    let was_before = done.load(Acquire);
    inlet.close();
    let mut delivered: Vec<u32> = Vec::new();
    if taking == Taking::BeforeTheEndAndAfter {
        delivered.extend(std::iter::from_fn(|| inlet.take()));
    }
    inlet.end(StoreLoad::detect());
    delivered.extend(std::iter::from_fn(|| inlet.take()));
    if was_before {
        assert!(delivered.contains(&1), "it was put in before the inlet was closed");
    }
    early.join().unwrap();
    late.join().unwrap();
}

/// When the dispatcher looks for subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looking {
    /// As the dispatcher does.
    AfterTheSignal,
    /// A subscription that comes between the two is missed.
    BeforeTheSignal,
}

/// Whoever subscribed before a publication began is known to the dispatcher when it has the signal (I1).
pub fn a_subscription_before_a_publication(looking: Looking) {
    let (inlet, bell) = (Arc::new(Inlet::<u32>::new(2)), silent());
    let letters = Arc::new(Mailbox::<u32>::new());
    let told = Arc::new(AtomicBool::new(false));
    let (its, posted, tells) = (inlet.clone(), letters.clone(), told.clone());
    let subscriber = thread::spawn(move || {
        assert!(posted.post(7).is_ok());
        its.listen();
        // By whatever way the publisher hears of it.
        tells.store(true, Release);
    });
    let its = inlet.clone();
    let publisher = thread::spawn(move || {
        if told.load(Acquire) {
            assert!(its.is_heard(), "a subscription was made, and nobody seems to listen");
            assert!(its.put(1, &bell).is_ok());
        }
    });
    let before = letters.posted();
    let signal = inlet.take();
    let known = if looking == Looking::AfterTheSignal { letters.posted() } else { before };
    assert!(signal.is_none() || known == 1, "a signal was taken, and its subscriber is not known");
    subscriber.join().unwrap();
    publisher.join().unwrap();
}

/// A dispatcher that has taken what filled the queue learns of what was refused for that, also if it sleeps by then (I4).
pub fn a_refusal_before_the_dispatcher_sleeps() {
    let inlet = Arc::new(Inlet::<u32>::new(1));
    let dispatcher = thread::current();
    let bell = Arc::new(Bell::new(StoreLoad::detect(), move || dispatcher.unpark()));
    assert!(inlet.put(1, &bell).is_ok());
    let (publishing, ringing) = (inlet.clone(), bell.clone());
    let publisher = thread::spawn(move || {
        if publishing.put(2, &ringing).is_err() {
            publishing.refuse(&ringing, StoreLoad::detect());
        }
    });
    let mut taken = take_all(&inlet);
    while taken + inlet.refused() < 2 {
        bell.arm();
        taken += take_all(&inlet);
        if taken + inlet.refused() < 2 {
            thread::park();
            taken += take_all(&inlet);
        }
        bell.disarm();
    }
    publisher.join().unwrap();
}

/// A dispatcher that sleeps is woken by the signal that it waits for.
pub fn a_dispatcher_that_sleeps() {
    let inlet = Arc::new(Inlet::<u32>::new(1));
    let dispatcher = thread::current();
    let bell = Arc::new(Bell::new(StoreLoad::detect(), move || dispatcher.unpark()));
    let (publishing, ringing) = (inlet.clone(), bell.clone());
    let publisher = thread::spawn(move || assert!(publishing.put(1, &ringing).is_ok()));
    let mut taken = inlet.take();
    while taken.is_none() {
        bell.arm();
        taken = inlet.take();
        if taken.is_none() {
            thread::park();
            taken = inlet.take();
        }
        bell.disarm();
    }
    publisher.join().unwrap();
}
