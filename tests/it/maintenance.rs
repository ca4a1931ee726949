//! The maintenance queue, as its users see it: on a runtime, and on threads of its own.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use mainlane::control::maintenance::{
    Closing, Job, JobContext, JobError, JobRefused, Late, Maintenance, MaintenanceBuilder, MaintenanceHandle, Outcome,
    Priority, Step, Submitted, WhenFull,
};
use tokio::runtime::Runtime;

use crate::domain::{PATIENCE, until};

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A queue on a runtime, and one without: what holds for one must hold for the other.
fn both(build: impl Fn() -> MaintenanceBuilder, check: impl Fn(&Maintenance, bool)) {
    let runtime = runtime();
    for on_runtime in [false, true] {
        let builder = build();
        let builder = if on_runtime { builder.runtime(runtime.handle().clone()) } else { builder };
        let maintenance = builder.build().unwrap();
        check(&maintenance, on_runtime);
        let report = maintenance.close(Closing::Cancel, soon());
        assert!(report.complete, "{report:?}");
        assert!(maintenance.stats().total().balanced());
    }
    until("the tasks end", || runtime.metrics().num_alive_tasks() == 0);
}

/// A blocking job that runs until it is let go; and what tells that it runs.
fn held(maintenance: &Maintenance) -> (Submitted<u32>, SyncSender<()>) {
    let (runs_here, runs) = mpsc::sync_channel(1);
    let (go, wait) = mpsc::sync_channel::<()>(1);
    let job = Job::blocking("held", move |_| {
        runs_here.send(()).unwrap();
        let _ = wait.recv();
        Ok(1)
    });
    let submitted = maintenance.submit(job.submitter("holder")).unwrap();
    runs.recv_timeout(PATIENCE).unwrap();
    (submitted, go)
}

fn value(value: u32) -> Job<u32> {
    Job::blocking("value", move |_| Ok(value))
}

fn error() -> JobError {
    "no".into()
}

/// Panics when it is dropped.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("{}", self.0);
        }
    }
}

#[test]
fn every_kind_of_job_ends_as_it_should() {
    both(Maintenance::builder, |maintenance, on_runtime| {
        let outcome = |job: Job<u32>| maintenance.submit(job).unwrap().wait(soon());
        assert_eq!(outcome(value(3)), Some(Outcome::Done(3)));
        assert_eq!(outcome(Job::blocking("fails", |_| Err(error()))), Some(Outcome::Failed("no".into())));
        assert_eq!(outcome(Job::blocking("panics", |_| panic!("ouch"))), Some(Outcome::Panicked("ouch".into())));
        let mut left = 1000;
        let steps = move |_: &JobContext| {
            left -= 1;
            Ok(if left == 0 { Step::Done(7) } else { Step::More })
        };
        assert_eq!(outcome(Job::resumable("steps", steps)), Some(Outcome::Done(7)));
        assert_eq!(outcome(Job::resumable("fails", |_| Err(error()))), Some(Outcome::Failed("no".into())));
        let asynchronous = Job::asynchronous("async", |_| async {
            tokio::task::yield_now().await;
            Ok(9)
        });
        if on_runtime {
            assert_eq!(outcome(asynchronous), Some(Outcome::Done(9)));
            let fails = Job::asynchronous("fails", |_| async { Err(error()) });
            assert_eq!(outcome(fails), Some(Outcome::Failed("no".into())));
        } else {
            assert!(matches!(maintenance.submit(asynchronous), Err(JobRefused::NeedsRuntime(_))));
        }
        let total = maintenance.stats().total();
        assert_eq!((total.panicked, total.failed), (1, if on_runtime { 3 } else { 2 }));
    });
}

/// Cancelled while it waits, before it starts in its slot, while it runs, between slices, and when it is over.
#[test]
fn a_job_can_be_cancelled_at_each_moment_of_its_life() {
    both(
        || Maintenance::builder().slots(1).slice(Duration::from_nanos(1)),
        |maintenance, on_runtime| {
            // While it waits: gone at once, its closure dropped.
            let (mut holder, go) = held(maintenance);
            let inside = Arc::new(());
            let witness = Arc::downgrade(&inside);
            let mut waiting = maintenance
                .submit(Job::<()>::blocking("waits", move |_| {
                    let _inside = inside;
                    panic!("it must not run")
                }))
                .unwrap();
            assert_eq!(maintenance.stats().total().waiting, 1);
            assert!(waiting.cancel());
            assert!(witness.upgrade().is_none());
            assert_eq!((maintenance.stats().total().waiting, waiting.poll()), (0, Some(Outcome::Cancelled)));
            assert!(!waiting.cancel(), "once");

            // While it runs, ignored: it is done nevertheless.
            assert!(holder.cancel());
            go.send(()).unwrap();
            assert_eq!(holder.wait(soon()), Some(Outcome::Done(1)));
            assert!(!holder.cancel(), "over");

            // While it runs, and looks.
            let (runs_here, runs) = mpsc::sync_channel(1);
            let looks = Job::<()>::blocking("looks", move |context| {
                runs_here.send(()).unwrap();
                while !context.is_cancelled() {
                    std::thread::yield_now();
                }
                Err(error())
            });
            let mut looks = maintenance.submit(looks).unwrap();
            runs.recv_timeout(PATIENCE).unwrap();
            assert!(looks.cancel());
            assert_eq!(looks.wait(soon()), Some(Outcome::Cancelled));

            // Between steps, at any of them.
            for pause in [0, 1, 10, 1000, 30_000] {
                let count = Arc::new(AtomicU64::new(0));
                let steps = count.clone();
                let endless = Job::<()>::resumable("endless", move |_| {
                    steps.fetch_add(1, SeqCst);
                    Ok(Step::More)
                });
                let mut endless = maintenance.submit(endless).unwrap();
                until("it runs", || count.load(SeqCst) > 2);
                (0..pause).for_each(|_| std::hint::spin_loop());
                assert!(endless.cancel());
                assert_eq!(endless.wait(soon()), Some(Outcome::Cancelled));
            }

            if on_runtime {
                // At its await; and before its first poll has come to an end.
                let inside = Arc::new(());
                let witness = Arc::downgrade(&inside);
                let (runs_here, runs) = mpsc::sync_channel(1);
                let awaits = Job::<()>::asynchronous("awaits", move |_| async move {
                    let _inside = inside;
                    runs_here.send(()).unwrap();
                    pending().await
                });
                let mut awaits = maintenance.submit(awaits).unwrap();
                runs.recv_timeout(PATIENCE).unwrap();
                assert!(awaits.cancel());
                assert_eq!(awaits.wait(soon()), Some(Outcome::Cancelled));
                assert!(witness.upgrade().is_none(), "dropped before it is told");
            }
            let total = maintenance.stats().total();
            assert_eq!((total.cancelled, total.waiting), (if on_runtime { 8 } else { 7 }, 0));
        },
    );
}

#[test]
fn what_a_job_handed_its_token_to_is_told_also_when_it_is_between_two_slices() {
    for by_closing in [false, true] {
        let maintenance = Maintenance::builder().slots(1).slice(Duration::from_nanos(1)).build().unwrap();
        let (tell, told) = mpsc::sync_channel(1);
        let (go, wait) = mpsc::sync_channel::<()>(1);
        let steps = Job::<()>::resumable("steps", move |job| {
            tell.send(job.token().clone())?;
            let _ = wait.recv();
            Ok(Step::More)
        });
        let mut steps = maintenance.submit(steps).unwrap();
        let token = told.recv_timeout(PATIENCE).unwrap();
        let (runs_here, runs) = mpsc::sync_channel(1);
        let first = Job::blocking("first", move |job| {
            runs_here.send(())?;
            while !job.is_cancelled() {
                std::thread::yield_now();
            }
            Ok(())
        });
        let first = maintenance.submit(first.priority(Priority::Urgent)).unwrap();
        go.send(()).unwrap();
        runs.recv_timeout(PATIENCE).unwrap();
        assert!(!token.is_cancelled());
        if by_closing {
            assert!(maintenance.close(Closing::Cancel, soon()).complete);
        } else {
            assert!(steps.cancel());
        }
        assert!(token.is_cancelled(), "by closing: {by_closing}");
        assert_eq!(steps.wait(soon()), Some(Outcome::Cancelled));
        first.cancel();
    }
}

#[test]
fn whoever_panics_when_it_is_told_to_stop_holds_up_no_closing() {
    struct Touchy;
    impl std::task::Wake for Touchy {
        fn wake(self: Arc<Self>) {
            panic!("not me");
        }
    }
    let maintenance = Maintenance::builder().slots(2).build().unwrap();
    let (runs_here, runs) = mpsc::sync_channel(2);
    let job = |name: &str| {
        let runs_here = runs_here.clone();
        Job::blocking(name, move |job: &JobContext| {
            let mut told = Box::pin(job.token().cancelled());
            let waker = std::task::Waker::from(Arc::new(Touchy));
            assert!(told.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
            runs_here.send(())?;
            while !job.is_cancelled() {
                std::thread::yield_now();
            }
            Ok(())
        })
    };
    let _jobs = ["one", "other"].map(|name| maintenance.submit(job(name)).unwrap());
    (0..2).for_each(|_| runs.recv_timeout(PATIENCE).unwrap());
    let report = maintenance.close(Closing::Cancel, soon());
    assert_eq!((report.complete, report.done), (true, 2), "{report:?}");
}

#[test]
fn a_job_that_has_its_slot_but_no_thread_yet_can_be_cancelled_or_expire() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(1).build().unwrap();
    let (go, wait) = mpsc::sync_channel::<()>(1);
    let blocks = runtime.spawn_blocking(move || wait.recv());
    let maintenance = Maintenance::builder().runtime(runtime.handle().clone()).build().unwrap();
    let deadline = Instant::now() + Duration::from_millis(1);
    let never = || Job::<()>::blocking("never", |_| panic!("it must not run"));
    let mut cancelled = maintenance.submit(never()).unwrap();
    let mut late = maintenance.submit(never().deadline(deadline)).unwrap();
    assert_eq!(maintenance.stats().total().waiting + maintenance.stats().total().running, 2);
    assert!(cancelled.cancel());
    until("the deadline passes", || Instant::now() > deadline);
    go.send(()).unwrap();
    assert_eq!(cancelled.wait(soon()), Some(Outcome::Cancelled));
    assert_eq!(late.wait(soon()), Some(Outcome::Expired));
    runtime.block_on(blocks).unwrap().unwrap();
    let report = maintenance.close(Closing::Cancel, soon());
    assert!(report.complete, "{report:?}");
}

/// A panic anywhere in a job is told, counted, and costs nobody else anything.
#[test]
fn panics_are_contained_at_each_step() {
    both(
        || Maintenance::builder().slots(1),
        |maintenance, on_runtime| {
            let drop_panics = || maintenance.stats().drop_panics;
            // In the closure, with a payload that is no text.
            let mut odd = maintenance.submit(Job::<()>::blocking("odd", |_| std::panic::panic_any(7))).unwrap();
            assert_eq!(odd.wait(soon()), Some(Outcome::Panicked("a panic without a message".into())));

            // In the drop of a closure that never ran.
            let (mut holder, go) = held(maintenance);
            let bomb = Bomb("unrun");
            let unrun = maintenance
                .submit(Job::<()>::blocking("unrun", move |_| {
                    let _bomb = bomb;
                    Ok(())
                }))
                .unwrap();
            assert!(unrun.cancel());
            assert_eq!(drop_panics(), 1);
            go.send(()).unwrap();
            assert!(holder.wait(soon()).is_some());

            // In the drop of a closure that did.
            let bomb = Bomb("stepped");
            let mut stepped = maintenance
                .submit(Job::resumable("stepped", move |_| {
                    let _bomb = &bomb;
                    Ok(Step::Done(4))
                }))
                .unwrap();
            assert_eq!(stepped.wait(soon()), Some(Outcome::Done(4)));
            until("the drop is counted", || drop_panics() == 2);

            // In the drop of a value that nobody waits for.
            let (mut holder, go) = held(maintenance);
            drop(maintenance.submit(Job::blocking("value", |_| Ok(Bomb("value")))).unwrap());
            go.send(()).unwrap();
            assert!(holder.wait(soon()).is_some());
            until("the drop is counted", || drop_panics() == 3);

            // In an error's text.
            #[derive(Debug)]
            struct Mute;
            impl std::fmt::Display for Mute {
                fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    panic!("mute")
                }
            }
            impl std::error::Error for Mute {}
            let mut mute = maintenance.submit(Job::<()>::blocking("mute", |_| Err(Mute.into()))).unwrap();
            assert_eq!(mute.wait(soon()), Some(Outcome::Panicked("mute".into())));

            if on_runtime {
                let panics: Vec<(&str, Job<()>)> = vec![
                    ("making", Job::asynchronous("making", |_| -> std::future::Pending<_> { panic!("making") })),
                    ("first", Job::asynchronous("first", |_| async { panic!("first") })),
                    (
                        "second",
                        Job::asynchronous("second", |_| async {
                            tokio::task::yield_now().await;
                            panic!("second")
                        }),
                    ),
                ];
                for (says, job) in panics {
                    let outcome = maintenance.submit(job).unwrap().wait(soon());
                    assert_eq!(outcome, Some(Outcome::Panicked(says.into())));
                }
                // In the drop of a future that is cancelled.
                let (runs_here, runs) = mpsc::sync_channel(1);
                let bomb = Bomb("future");
                let dropped = Job::<()>::asynchronous("dropped", move |_| async move {
                    let _bomb = bomb;
                    runs_here.send(()).unwrap();
                    pending().await
                });
                let mut dropped = maintenance.submit(dropped).unwrap();
                runs.recv_timeout(PATIENCE).unwrap();
                dropped.cancel();
                assert_eq!(dropped.wait(soon()), Some(Outcome::Cancelled));
                until("the drop is counted", || drop_panics() == 4);
            }
            assert_eq!(maintenance.submit(value(5)).unwrap().wait(soon()), Some(Outcome::Done(5)), "it goes on");
        },
    );
}

/// Reported when it passes, with every slot taken; unless it is to run nevertheless.
#[test]
fn a_deadline_that_passes_is_told_at_once() {
    both(
        || Maintenance::builder().slots(1),
        |maintenance, _| {
            let (mut holder, go) = held(maintenance);
            let deadline = Instant::now() + Duration::from_millis(2);
            let mut late = maintenance.submit(value(1).deadline(deadline)).unwrap();
            let mut anyway = maintenance.submit(value(2).deadline(deadline).late(Late::Run)).unwrap();
            assert_eq!(late.wait(soon()), Some(Outcome::Expired));
            assert!(Instant::now() > deadline);
            assert_eq!((holder.poll(), anyway.poll()), (None, None), "the slot is still taken");
            go.send(()).unwrap();
            assert_eq!(anyway.wait(soon()), Some(Outcome::Done(2)));
            assert!(holder.wait(soon()).is_some());
        },
    );
}

#[test]
fn a_full_queue_hands_back_or_sheds_and_counts_both() {
    both(
        || Maintenance::builder().slots(1).capacity(1),
        |maintenance, _| {
            let (mut holder, go) = held(maintenance);
            let mut first = maintenance.submit(value(1)).unwrap();
            let JobRefused::Full(back) = maintenance.submit(value(2).submitter("late")).unwrap_err() else { panic!() };
            go.send(()).unwrap();
            assert_eq!(first.wait(soon()), Some(Outcome::Done(1)));
            assert_eq!(maintenance.submit(back).unwrap().wait(soon()), Some(Outcome::Done(2)), "it can be given again");
            assert_eq!(maintenance.stats().submitter("late").unwrap().counts.refused, 1);
            assert!(holder.wait(soon()).is_some());
        },
    );
    both(
        || Maintenance::builder().slots(1).capacity(1).when_full(WhenFull::ShedLowest),
        |maintenance, _| {
            let (mut holder, go) = held(maintenance);
            let mut low = maintenance.submit(value(1).priority(Priority::Low)).unwrap();
            let mut high = maintenance.submit(value(2).priority(Priority::High)).unwrap();
            assert_eq!(low.poll(), Some(Outcome::Shed));
            assert!(matches!(maintenance.submit(value(3).priority(Priority::High)), Err(JobRefused::Full(_))));
            go.send(()).unwrap();
            assert_eq!(high.wait(soon()), Some(Outcome::Done(2)));
            let stats = maintenance.stats();
            assert_eq!(stats.priority(Priority::Low).counts.shed, 1);
            assert_eq!(stats.priority(Priority::High).counts.refused, 1);
            assert!(holder.wait(soon()).is_some());
        },
    );
}

/// Calls back into the queue wherever it can: with a lock held, that would never return.
struct Calls(MaintenanceHandle);

impl Drop for Calls {
    fn drop(&mut self) {
        self.0.stats();
        let _ = self.0.submit(value(0));
    }
}

#[test]
fn no_lock_is_held_while_a_jobs_code_runs() {
    both(
        || Maintenance::builder().slots(1),
        |maintenance, on_runtime| {
            let calls = || Calls(maintenance.handle());
            let (mut holder, go) = held(maintenance);
            let inside = calls();
            let cancelled = maintenance
                .submit(Job::blocking("cancelled", move |_| {
                    let _inside = &inside;
                    Ok(())
                }))
                .unwrap();
            cancelled.cancel();
            let inside = calls();
            let expired = Job::blocking("expired", move |_| {
                let _inside = &inside;
                Ok(())
            });
            let mut expired = maintenance.submit(expired.deadline(Instant::now())).unwrap();
            assert_eq!(expired.wait(soon()), Some(Outcome::Expired));
            go.send(()).unwrap();
            assert!(holder.wait(soon()).is_some());
            let inside = calls();
            let value = maintenance.handle();
            drop(
                maintenance
                    .submit(Job::resumable("value", move |_| {
                        let _inside = &inside;
                        Ok(Step::Done(Calls(value.clone())))
                    }))
                    .unwrap(),
            );
            if on_runtime {
                let inside = calls();
                let future = Job::asynchronous("future", move |_| async move {
                    let inside = inside;
                    tokio::task::yield_now().await;
                    drop(inside);
                    Ok(())
                });
                assert_eq!(maintenance.submit(future).unwrap().wait(soon()), Some(Outcome::Done(())));
            }
            until("all is done", || {
                let total = maintenance.stats().total();
                total.waiting + total.running == 0
            });
        },
    );
}

#[test]
fn dropping_what_was_submitted_cancels_only_if_that_was_said() {
    both(
        || Maintenance::builder().slots(1),
        |maintenance, _| {
            let (mut holder, go) = held(maintenance);
            let ran = Arc::new(AtomicU64::new(0));
            let job = |bit: u64| {
                let ran = ran.clone();
                Job::blocking("bit", move |_| {
                    ran.fetch_add(bit, SeqCst);
                    Ok(())
                })
            };
            drop(maintenance.submit(job(1)).unwrap());
            drop(maintenance.submit(job(2)).unwrap().cancel_on_drop());
            assert_eq!(maintenance.stats().total().waiting, 1);
            go.send(()).unwrap();
            assert!(holder.wait(soon()).is_some());
            until("the other has run", || maintenance.stats().total().done == 2);
            assert_eq!(ran.load(SeqCst), 1);
        },
    );
}

#[test]
fn a_single_job_is_not_held_up_by_a_flood_of_anothers() {
    both(
        || Maintenance::builder().slots(1).capacity(20_000),
        |maintenance, _| {
            let (mut holder, go) = held(maintenance);
            let order = Arc::new(Mutex::new(Vec::new()));
            let job = |who: &'static str| {
                let order = order.clone();
                Job::blocking("job", move |_| {
                    order.lock().unwrap().push(who);
                    Ok(())
                })
                .submitter(who)
            };
            (0..10_000).for_each(|_| drop(maintenance.submit(job("flood")).unwrap()));
            let mut single = maintenance.submit(job("single")).unwrap();
            go.send(()).unwrap();
            assert_eq!(single.wait(soon()), Some(Outcome::Done(())));
            assert!(holder.wait(soon()).is_some());
            let at = order.lock().unwrap().iter().position(|who| *who == "single");
            assert!(at <= Some(1), "{at:?} jobs went before it");
        },
    );
}

#[test]
fn long_work_in_steps_lets_others_have_its_slot_between() {
    both(
        || Maintenance::builder().slots(1).slice(Duration::from_micros(50)),
        |maintenance, on_runtime| {
            let endless = || Job::<()>::resumable("endless", |_| Ok(Step::More)).submitter("long");
            let mut long: Vec<_> = (0..3).map(|_| maintenance.submit(endless()).unwrap()).collect();
            for _ in 0..20 {
                assert_eq!(maintenance.submit(value(1)).unwrap().wait(soon()), Some(Outcome::Done(1)));
                if on_runtime {
                    let asynchronous = Job::asynchronous("async", |_| async { Ok(2) });
                    assert_eq!(maintenance.submit(asynchronous).unwrap().wait(soon()), Some(Outcome::Done(2)));
                }
            }
            for long in &mut long {
                assert_eq!(long.poll(), None);
                assert!(long.cancel());
                assert_eq!(long.wait(soon()), Some(Outcome::Cancelled));
            }
        },
    );
}

/// Names of this process's threads that begin so. The system keeps fifteen characters.
fn threads(prefix: &str) -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}

#[test]
fn closing_finishes_or_cancels_and_leaves_nothing() {
    let runtime = runtime();
    for (name, on_runtime) in [("closes a", false), ("closes b", true)] {
        for finish in [true, false] {
            let builder = Maintenance::builder().name(name).slots(2);
            let builder = if on_runtime { builder.runtime(runtime.handle().clone()) } else { builder };
            let maintenance = builder.build().unwrap();
            #[cfg(target_os = "linux")]
            until("its threads have their names", || threads(name).len() == if on_runtime { 1 } else { 3 });
            let endless = || Job::<()>::resumable("endless", |_| Ok(Step::More)).submitter("s");
            let (mut holder, go) = held(&maintenance);
            let waiting: Vec<_> =
                (0..10).map(|n| maintenance.submit(value(n).priority(Priority::Low)).unwrap()).collect();
            let mut running = maintenance.submit(endless().priority(Priority::Urgent)).unwrap();
            go.send(()).unwrap();
            assert!(holder.wait(soon()).is_some());
            if finish {
                until("they have run", || maintenance.stats().total().done == 11);
            }
            let report = if finish {
                let (now, handle) = (Instant::now(), maintenance.handle());
                // Nothing comes in any more, though it goes on for a while.
                let closing = Closing::FinishUntil(now + Duration::from_millis(5));
                let report = maintenance.close(closing, soon());
                assert!(matches!(handle.submit(value(1)), Err(JobRefused::Closed(_))));
                report
            } else {
                maintenance.close(Closing::Cancel, soon())
            };
            assert!(report.complete, "{report:?}");
            assert_eq!(running.poll(), Some(Outcome::Cancelled));
            assert!(report.cancelled.iter().any(|label| &*label.name == "endless" && &*label.submitter == "s"));
            let total = maintenance.stats().total();
            assert_eq!((total.waiting, total.running, total.balanced()), (0, 0, true));
            assert_eq!(report.cancelled.len() as u64, total.cancelled);
            if finish {
                assert_eq!((total.done, total.cancelled), (11, 1));
            }
            drop(waiting);
            assert_eq!(maintenance.close(Closing::Cancel, soon()), report, "asked again");
            #[cfg(target_os = "linux")]
            until("its threads have gone", || threads(name).is_empty());
        }
    }
    until("the tasks end", || runtime.metrics().num_alive_tasks() == 0);
}

#[test]
fn what_waits_is_finished_when_it_may_be() {
    both(
        || Maintenance::builder().slots(1),
        |maintenance, _| {
            let (holder, go) = held(maintenance);
            let mut waiting: Vec<_> = (0..20).map(|n| maintenance.submit(value(n)).unwrap()).collect();
            let report = std::thread::scope(|scope| {
                let closes = scope.spawn(|| maintenance.close(Closing::FinishUntil(soon()), soon()));
                until("it closes", || matches!(maintenance.submit(value(0)), Err(JobRefused::Closed(_))));
                go.send(()).unwrap();
                closes.join().unwrap()
            });
            assert!(report.complete && report.cancelled.is_empty(), "{report:?}");
            assert!(report.done >= 21);
            for (n, waiting) in waiting.iter_mut().enumerate() {
                assert_eq!(waiting.poll(), Some(Outcome::Done(n as u32)));
            }
            drop(holder);
        },
    );
}

#[test]
fn a_job_that_does_not_stop_is_given_up_by_name() {
    let runtime = runtime();
    for on_runtime in [false, true] {
        let builder = Maintenance::builder().name("stubborn").slots(1);
        let builder = if on_runtime { builder.runtime(runtime.handle().clone()) } else { builder };
        let maintenance = builder.build().unwrap();
        let (mut holder, go) = held(&maintenance);
        let mut waiting = maintenance.submit(value(1)).unwrap();
        let report = maintenance.close(Closing::FinishUntil(soon()), Instant::now());
        assert!(!report.complete);
        let names = |labels: &[mainlane::control::maintenance::JobLabel]| -> Vec<_> {
            labels.iter().map(|label| label.to_string()).collect()
        };
        assert_eq!(names(&report.abandoned), ["`held` of `holder` (normal)"]);
        assert_eq!(names(&report.cancelled), ["`value` of `` (normal)"]);
        assert!(matches!(holder.poll(), Some(Outcome::Abandoned(_))));
        assert_eq!(waiting.poll(), Some(Outcome::Cancelled));
        // It ends after all, and its thread too.
        go.send(()).unwrap();
        #[cfg(target_os = "linux")]
        until("its thread has gone", || threads("stubborn").is_empty());
        let total = maintenance.stats().total();
        assert_eq!((total.abandoned, total.done, total.balanced()), (1, 0, true), "counted once");
    }
}

#[test]
fn async_code_submits_awaits_and_closes_without_blocking() {
    let runtime = runtime();
    let handle = runtime.handle().clone();
    runtime.block_on(async {
        let maintenance = Maintenance::builder().runtime(handle).build().unwrap();
        let blocking = maintenance.submit(value(1)).unwrap();
        let asynchronous = maintenance.submit(Job::asynchronous("a", |_| async { Ok(2) })).unwrap();
        assert_eq!((blocking.await, asynchronous.await), (Outcome::Done(1), Outcome::Done(2)));
        let mut twice = maintenance.submit(value(3)).unwrap();
        assert_eq!((&mut twice).await, Outcome::Done(3));
        assert!(matches!((&mut twice).await, Outcome::Abandoned(_)), "its outcome was taken");
        let endless = maintenance.submit(Job::<()>::asynchronous("endless", |_| pending())).unwrap();
        let report = maintenance.closed(Closing::Cancel, soon()).await;
        assert!(report.complete, "{report:?}");
        assert_eq!(endless.await, Outcome::Cancelled);
    });
    until("the tasks end", || runtime.metrics().num_alive_tasks() == 0);
}

#[test]
fn async_code_does_not_wait_for_a_drop_that_does_not_end() {
    /// Whose drop waits for somebody.
    struct Slow(Arc<Barrier>);
    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.wait();
        }
    }
    let maintenance = Maintenance::builder().slots(1).build().unwrap();
    let (_held, go) = held(&maintenance);
    let barrier = Arc::new(Barrier::new(2));
    let slow = Slow(barrier.clone());
    let mut waits = maintenance.submit(Job::blocking("slow", move |_| Ok(_ = &slow))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let report = runtime.block_on(async {
        let closed = maintenance.closed(Closing::Cancel, Instant::now());
        tokio::time::timeout(PATIENCE, closed).await.expect("it gives up")
    });
    assert!(!report.complete);
    assert_eq!(report.cancelled[0].name, "slow".into());
    assert_eq!(runtime.block_on(maintenance.closed(Closing::Cancel, Instant::now())), report);
    drop(maintenance);
    barrier.wait();
    assert_eq!(waits.wait(soon()), Some(Outcome::Cancelled));
    drop(go);
}

#[test]
fn a_queue_that_is_dropped_ends() {
    let runtime = runtime();
    let maintenance = Maintenance::builder().name("dropped").build().unwrap();
    let mut endless = maintenance.submit(Job::<()>::resumable("endless", |_| Ok(Step::More))).unwrap();
    drop(maintenance);
    assert_eq!(endless.poll(), Some(Outcome::Cancelled));
    let (mut endless, handle) = runtime.block_on(async {
        let maintenance = Maintenance::builder().name("dropped").build().unwrap();
        let endless = maintenance.submit(Job::<()>::resumable("endless", |_| Ok(Step::More))).unwrap();
        (endless, maintenance.handle())
    });
    assert_eq!(endless.wait(soon()), Some(Outcome::Cancelled), "in async code it does not wait");
    assert!(matches!(handle.submit(value(1)), Err(JobRefused::Closed(_))));
    #[cfg(target_os = "linux")]
    until("its threads have gone", || threads("dropped").is_empty());
}

/// The host drops the runtime under a queue in full work.
#[test]
fn when_the_runtime_goes_nobody_waits_for_ever() {
    let runtime = runtime();
    let maintenance = Maintenance::builder().runtime(runtime.handle().clone()).slots(2).build().unwrap();
    let (mut holder, go) = held(&maintenance);
    let (runs_here, runs) = mpsc::sync_channel(1);
    let bomb = Bomb("dropped by the runtime");
    let awaits = Job::<()>::asynchronous("awaits", move |_| async move {
        let _bomb = bomb;
        runs_here.send(()).unwrap();
        pending().await
    });
    let mut awaits = maintenance.submit(awaits).unwrap();
    runs.recv_timeout(PATIENCE).unwrap();
    let mut waiting: Vec<_> = (0..50).map(|n| maintenance.submit(value(n)).unwrap()).collect();
    runtime.shutdown_background();
    let Some(Outcome::Abandoned(reason)) = awaits.wait(soon()) else { panic!() };
    assert!(reason.contains("runtime"), "{reason}");
    for waiting in &mut waiting {
        assert!(matches!(waiting.wait(soon()), Some(Outcome::Abandoned(_))));
    }
    assert!(matches!(maintenance.submit(value(1)), Err(JobRefused::RuntimeGone(_))));
    go.send(()).unwrap();
    assert_eq!(holder.wait(soon()), Some(Outcome::Done(1)), "a thread that runs is not taken away");
    let report = maintenance.close(Closing::Cancel, soon());
    assert!(report.complete, "{report:?}");
    let stats = maintenance.stats();
    assert_eq!((stats.total().abandoned, stats.drop_panics), (51, 1));
    assert!(stats.total().balanced());

    // Nothing in work: it is found out by the next.
    let runtime = self::runtime();
    let maintenance = Maintenance::builder().runtime(runtime.handle().clone()).build().unwrap();
    drop(runtime);
    let outcome = maintenance.submit(value(1)).unwrap().wait(soon());
    assert!(matches!(outcome, Some(Outcome::Abandoned(_))));
    let asynchronous = maintenance.submit(Job::asynchronous("a", |_| async { Ok(()) }));
    assert!(matches!(asynchronous, Err(JobRefused::RuntimeGone(_))));

    // A resumable one that runs does not hold the host up.
    let runtime = self::runtime();
    let maintenance = Maintenance::builder().runtime(runtime.handle().clone()).build().unwrap();
    let begun = Arc::new(AtomicBool::new(false));
    let its = begun.clone();
    let endless = Job::<()>::resumable("endless", move |_| {
        its.store(true, SeqCst);
        Ok(Step::More)
    });
    let mut endless = maintenance.submit(endless).unwrap();
    until("it runs", || begun.load(SeqCst));
    drop(runtime);
    assert!(matches!(endless.wait(soon()), Some(Outcome::Abandoned(_))));
}

#[test]
fn times_are_recorded_for_each_submitter_and_priority() {
    both(
        || Maintenance::builder().slots(1).slice(Duration::from_nanos(1)),
        |maintenance, _| {
            let mut left = 10;
            let steps = Job::resumable("steps", move |_| {
                left -= 1;
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_micros(100) {}
                Ok(if left == 0 { Step::Done(()) } else { Step::More })
            });
            let steps = steps.submitter("stepper").priority(Priority::High);
            assert!(maintenance.submit(steps).unwrap().wait(soon()).is_some());
            assert!(maintenance.submit(value(1).submitter("other")).unwrap().wait(soon()).is_some());
            let stats = maintenance.stats();
            for figures in [stats.submitter("stepper").unwrap(), stats.priority(Priority::High)] {
                assert_eq!((figures.times.wait.len(), figures.times.run.len()), (1, 1), "one job, not ten slices");
                assert!(figures.times.run.max() >= 990_000, "all slices together: {figures}");
            }
            assert_eq!(stats.submitter("other").unwrap().times.run.len(), 1);
            assert!(stats.submitter("nobody").is_none());
        },
    );
}

/// Random jobs from several threads, cancelled, expiring, failing and panicking at random: each ends once, is told what it
/// was counted as, and the counts balance at every look.
#[test]
fn two_thousand_random_jobs_end_once_each() {
    const SUBMITTERS: u64 = 4;
    const EACH: u64 = 500;
    both(
        || {
            Maintenance::builder()
                .slots(3)
                .capacity(64)
                .when_full(WhenFull::ShedLowest)
                .age(Duration::from_micros(200))
                .slice(Duration::from_micros(20))
        },
        |maintenance, on_runtime| {
            let start = Barrier::new(SUBMITTERS as usize + 1);
            let over = AtomicBool::new(false);
            let ends = Mutex::new([0u64; 8]);
            std::thread::scope(|scope| {
                let looks = scope.spawn(|| {
                    start.wait();
                    while !over.load(SeqCst) {
                        let stats = maintenance.stats();
                        assert!(stats.total().balanced(), "{stats:?}");
                        stats.submitters.iter().for_each(|(_, figures)| assert!(figures.counts.balanced()));
                        assert!(stats.total().running <= 3 && stats.total().waiting <= 64 + 3);
                    }
                });
                let submits: Vec<_> = (0..SUBMITTERS)
                    .map(|submitter| {
                        let (start, ends) = (&start, &ends);
                        scope.spawn(move || {
                            start.wait();
                            submit_at_random(maintenance, on_runtime, submitter, EACH, ends);
                        })
                    })
                    .collect();
                submits.into_iter().for_each(|thread| thread.join().unwrap());
                over.store(true, SeqCst);
                looks.join().unwrap();
            });
            let total = maintenance.stats().total();
            let counted = [
                total.done,
                total.failed,
                total.panicked,
                total.cancelled,
                total.expired,
                total.shed,
                total.abandoned,
                total.refused,
            ];
            let ends = ends.into_inner().unwrap();
            assert_eq!(ends, counted);
            assert_eq!(ends.iter().sum::<u64>(), SUBMITTERS * EACH);
            assert!(ends[..4].iter().all(|count| *count > 0), "{ends:?}");
        },
    );
}

/// A step of a small generator.
fn random(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % below
}

fn submit_at_random(maintenance: &Maintenance, on_runtime: bool, submitter: u64, count: u64, ends: &Mutex<[u64; 8]>) {
    let mut seed = 0x9e37_79b9 * (submitter + 1);
    let mut submitted: Vec<Submitted<u64>> = Vec::new();
    let mut refused = 0;
    for n in 0..count {
        let (fate, steps) = (random(&mut seed, 10), random(&mut seed, 40));
        let result = move || match fate {
            0 => Err(error()),
            1 => std::panic::resume_unwind(Box::new("at random")),
            _ => Ok(n),
        };
        let job = match random(&mut seed, if on_runtime { 3 } else { 2 }) {
            0 => Job::blocking("b", move |_| {
                (0..steps * 50).for_each(|_| std::hint::spin_loop());
                result()
            }),
            1 => {
                let mut left = steps;
                Job::resumable("r", move |_| {
                    (0..500).for_each(|_| std::hint::spin_loop());
                    left = left.saturating_sub(1);
                    if left == 0 { result().map(Step::Done) } else { Ok(Step::More) }
                })
            }
            _ => Job::asynchronous("a", move |_| async move {
                for _ in 0..steps {
                    tokio::task::yield_now().await;
                }
                result()
            }),
        };
        let job = job.submitter(format!("{submitter}")).priority(Priority::ALL[random(&mut seed, 4) as usize]);
        let job = match random(&mut seed, 4) {
            0 => job.deadline(Instant::now() + Duration::from_micros(random(&mut seed, 500))),
            _ => job,
        };
        match maintenance.submit(job) {
            Ok(job) => submitted.push(job),
            Err(JobRefused::Full(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        if random(&mut seed, 5) == 0 && !submitted.is_empty() {
            let at = random(&mut seed, submitted.len() as u64) as usize;
            submitted[at].cancel();
        }
        if random(&mut seed, 8) == 0 {
            std::thread::yield_now();
        }
    }
    let mut mine = [0; 8];
    mine[7] = refused;
    for mut job in submitted {
        let outcome = job.wait(soon()).expect("every job ends");
        mine[match outcome {
            Outcome::Done(_) => 0,
            Outcome::Failed(_) => 1,
            Outcome::Panicked(_) => 2,
            Outcome::Cancelled => 3,
            Outcome::Expired => 4,
            Outcome::Shed => 5,
            _ => 6,
        }] += 1;
    }
    ends.lock().unwrap().iter_mut().zip(mine).for_each(|(all, mine)| *all += mine);
}
