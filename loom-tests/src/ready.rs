//! A crew's projects: `register/crew/ready.rs` and `post.rs`, with the bell that wakes a project.
//!
//! Modelled: a producer that publishes and rings, a project whose bell queues it, and drivers that take it out of the queue, look,
//! and let go of it, as `register/crew/drive.rs` does; a shutdown that waits for the driver, and one that does not; a turn that
//! ends while it is called stuck. The queue is the engine's, a lock; the main lane is a cell that two may not touch at once.
//!
//! Bounds: two threads beside the main one, explored in full, but two drivers with at most three preemptions (in full
//! they hold too, in two and a half minutes). One push: loom lets a bell that was armed anew look as one late
//! ringer's swap, which found nothing, had left it, though that swap came before. A few
//! seconds.
//!
//! Must make it fail: weakening either end of P17 or P18; waking, beginning or letting go in two steps (Y1, Y2); a driver that sleeps
//! without a look whether it was woken (Y3), that does not arm, or that lets go first and arms then; giving up by a look and a
//! store (Y4); a verdict in two steps (Y5). The last five are control arms.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering as Plain};

use crate::post_file::Post;
use crate::ready_file::{Ready, Rest};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, StoreLoad};
use crate::wake_files::Bell;
use loom::thread;

/// How a driver lets go of a project that has nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleeping {
    /// As the engine does: arms, looks, lets go.
    ArmsThenRests,
    /// Nobody wakes it.
    WithoutArming,
    /// In between nobody drives it, and who rings queues it; then it arms what another drives.
    RestsThenArms,
    /// Forgets that it was woken meanwhile.
    Forgetful,
}

/// A project: what is published for it, what its main lane has taken, and who wants it driven.
struct Project {
    ready: Ready,
    /// How often it is in the queue.
    queue: Mutex<u64>,
    published: AtomicU64,
    /// Only its driver touches it.
    taken: Mutex<u64>,
    /// Somebody drives it. No part of the protocol, so loom need not see it.
    driven: AtomicBool,
}

impl Project {
    fn new() -> Self {
        let (queue, taken) = (Mutex::new(0), Mutex::new(0));
        let (published, driven) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { ready: Ready::default(), queue, published, taken, driven }
    }

    fn wake(&self) {
        if self.ready.wake() {
            self.push();
        }
    }

    fn push(&self) {
        let mut queued = self.queue.lock();
        *queued += 1;
        assert_eq!(*queued, 1, "it is queued twice");
    }

    fn pop(&self) -> bool {
        let mut queued = self.queue.lock();
        let there = *queued > 0;
        *queued = 0;
        there
    }

    /// Takes what is there.
    fn take(&self) {
        assert!(!self.driven.swap(true, Plain::Relaxed), "two drive it");
        *self.taken.lock() = self.published.load(Acquire);
        self.driven.store(false, Plain::Relaxed);
    }

    fn taken(&self) -> u64 {
        *self.taken.lock()
    }

    /// Drives it if it is queued, until it may sleep.
    fn drive(&self, bell: &Bell, sleeping: Sleeping) {
        while self.pop() {
            if !self.ready.begin() {
                return;
            }
            bell.disarm();
            self.take();
            if sleeping == Sleeping::ArmsThenRests || sleeping == Sleeping::Forgetful {
                // As for many at once.
                bell.begin_to_arm();
                StoreLoad::detect().heavy();
            }
            let more = self.published.load(Acquire) != self.taken();
            let rest = match self.ready.rest(more) {
                Rest::Queue if sleeping == Sleeping::Forgetful && !more => Rest::Asleep,
                rest => rest,
            };
            match rest {
                Rest::Queue => self.push(),
                Rest::Asleep if sleeping == Sleeping::RestsThenArms => bell.arm(),
                Rest::Asleep | Rest::Over { .. } => {}
            }
        }
    }
}

/// A bell that queues the project.
fn bell(project: &Arc<Project>) -> Arc<Bell> {
    let project = project.clone();
    Arc::new(Bell::new(StoreLoad::detect(), move || project.wake()))
}

/// What a producer published is taken when everybody has nothing more to do (Y1, Y2, Y3).
pub fn nothing_is_left_lying(drivers: usize, sleeping: Sleeping) {
    let project = Arc::new(Project::new());
    let bell = bell(&project);
    // Hosted.
    project.wake();
    let mut threads = Vec::new();
    let (publishing, ringing) = (project.clone(), bell.clone());
    threads.push(thread::spawn(move || {
        publishing.published.fetch_add(1, Release);
        ringing.ring();
    }));
    for _ in 1..drivers {
        let (project, bell) = (project.clone(), bell.clone());
        threads.push(thread::spawn(move || project.drive(&bell, sleeping)));
    }
    project.drive(&bell, sleeping);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // What was queued since.
    project.drive(&bell, sleeping);
    assert_eq!(project.taken(), 1, "it sleeps on what nobody will tell it of");
}

/// What was done before a project was woken is seen by who drives it next, whoever else woke it (P17).
pub fn who_wakes_hands_over(wakers: usize) {
    let project = Arc::new(Project::new());
    let asked: Vec<_> = (0..wakers).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let threads: Vec<_> = asked
        .iter()
        .map(|asked| {
            let (project, asked) = (project.clone(), asked.clone());
            thread::spawn(move || {
                asked.store(1, Relaxed);
                project.wake();
            })
        })
        .collect();
    let mut seen = vec![0; wakers];
    // Driven as often as it is queued; nothing else is a reason to look.
    let mut drive = |project: &Project| {
        while project.pop() {
            assert!(project.ready.begin());
            for (seen, asked) in seen.iter_mut().zip(&asked) {
                *seen = asked.load(Relaxed);
            }
            if project.ready.rest(false) == Rest::Queue {
                project.push();
            }
        }
    };
    drive(&project);
    // Not joined before: that would hand it over by itself.
    drive(&project);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let left = project.pop();
    assert!(left || seen.iter().all(|seen| *seen == 1), "driven for somebody who is not heard: {seen:?}");
}

/// How a project is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivingUp {
    /// As the engine does.
    AtOnce,
    /// Looks who drives it first.
    LooksFirst,
}

/// A shutdown that does not wait: the project is put away once, by its driver or by who gave it up (Y4), and by nobody while it is
/// driven.
pub fn one_heir(giving_up: GivingUp) {
    let project = Arc::new(Project::new());
    let put_away = std::sync::Arc::new(AtomicUsize::new(0));
    project.wake();
    // What the heir is told (P18).
    let told = Arc::new(AtomicU64::new(0));
    let (driven, counted, hears) = (project.clone(), put_away.clone(), told.clone());
    let driver = thread::spawn(move || {
        if driven.pop() && driven.ready.begin() {
            driven.take();
            if driven.ready.rest(false) == (Rest::Over { heir: true }) {
                assert_eq!(hears.load(Relaxed), 1, "the heir was told nothing");
                driven.take();
                counted.fetch_add(1, Plain::Relaxed);
            }
        }
    });
    told.store(1, Relaxed);
    let is_driven = match giving_up {
        GivingUp::AtOnce => project.ready.give_up(),
        GivingUp::LooksFirst => {
            let is_driven = project.ready.look() == crate::ready_file::Doing::Driven;
            let _ = project.ready.give_up();
            is_driven
        }
    };
    if !is_driven {
        put_away.fetch_add(1, Plain::Relaxed);
    }
    driver.join().unwrap();
    assert_eq!(put_away.load(Plain::Relaxed), 1, "put away by as many");
    assert!(!project.ready.begin(), "it is over");
}

/// How a turn is called stuck, and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the engine does.
    AtOnce,
    /// The watch looks, and is sure then.
    LooksOnly,
}

/// A turn is ended, or is called stuck and its thread is told so when it ends (Y5).
pub fn one_verdict(verdict: Verdict) {
    let post = Arc::new(Post::default());
    post.begin(1, 7);
    let its = post.clone();
    let thread = thread::spawn(move || {
        let first = its.end();
        its.begin(2, 7);
        let second = its.end();
        (first, second)
    });
    let called = post.look().is_some_and(|seen| match verdict {
        Verdict::AtOnce => post.call_stuck(seen),
        Verdict::LooksOnly => {
            let _ = post.call_stuck(seen);
            true
        }
    });
    let (first, second) = thread.join().unwrap();
    assert!(!(first && second), "called once");
    assert_eq!(called, first || second, "the watch and the thread disagree");
}
