use mainlane::Budget;
use mainlane::control::{CancellationToken, ControlError, Health, RuntimeChoice};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::domain::until;

/// A thread worker, a blocking task and a task push one item each; everything stops, and nothing is left.
fn starts_works_and_stops(panel: &mut ControlPanel, name: &str, with_tasks: bool) {
    let (mut running, handle) = pipeline();
    panel.worker(&handle, "thread", || Ok(Pushes(1))).start().unwrap();
    let mut expected = vec![1];
    if with_tasks {
        panel.worker(&handle, "blocking", || Ok(Pushes(2))).as_blocking_task().start().unwrap();
        panel.task(&handle, "task", || Ok(PushesInTask(3))).start().unwrap();
        expected.extend([2, 3]);
    }
    // Blocks, but not a runtime's thread that the task may need.
    panel.workers().iter().for_each(|worker| drop(wait_until(panel, &worker.name, WorkerState::Running)));
    let reader = handle.reader();
    let mut cached = reader.cached();
    let began = deadline();
    while items(cached.load()).len() < expected.len() {
        assert!(Instant::now() < began, "{name}: {:?}", panel.workers());
        std::thread::yield_now();
    }
    assert_eq!(panel.health(), Health::Good);
    let report = panel.shutdown(PATIENCE);
    assert!(report.complete, "{name}: {report:?}");
    assert!(report.workers.iter().all(|worker| worker.state == WorkerState::Stopped), "{name}: {report:?}");
    assert_eq!(panel.shutdown(Duration::ZERO), report, "{name}: once is enough");
    let report = running.shutdown(PATIENCE);
    assert!(report.complete, "{name}");
    let mut items = items(&reader.load());
    items.sort_unstable();
    assert_eq!(items, expected, "{name}");
}

/// A runtime says of a task that it is over a moment before it lets go of it.
fn no_task_is_left(metrics: &tokio::runtime::RuntimeMetrics) {
    until("the end of all tasks", || metrics.num_alive_tasks() == 0);
}

fn multi_thread(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).build().unwrap()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

#[test]
fn a_plain_thread_has_a_runtime_made_for_it() {
    let mut panel = ControlPanel::builder().name("plain host").start().unwrap();
    starts_works_and_stops(&mut panel, "plain thread", true);
    until("the end of its thread", || threads_named("plain host") == 0);
}

#[test]
fn without_a_runtime_threads_work_and_tasks_are_refused() {
    let mut panel = ControlPanel::builder().runtime(RuntimeChoice::None).start().unwrap();
    let (_running, handle) = pipeline();
    let refused = panel.task(&handle, "task", || Ok(PushesInTask(3))).start();
    assert_eq!(refused, Err(ControlError::NoRuntime { worker: "task".into() }));
    starts_works_and_stops(&mut panel, "none", false);
}

#[test]
fn a_runtime_with_several_threads_is_used_also_by_one_of_its_own_tasks() {
    for threads in [1, 2] {
        let runtime = multi_thread(threads);
        runtime.block_on(async {
            let mut panel = ControlPanel::builder().start().unwrap();
            starts_works_and_stops(&mut panel, "in block_on", true);
        });
        let task = runtime.spawn(async {
            let mut panel = ControlPanel::builder().start().unwrap();
            starts_works_and_stops(&mut panel, "in a task", true);
            // Dropped inside the runtime, on its only thread.
            let panel = ControlPanel::builder().start().unwrap();
            let (_running, handle) = pipeline();
            panel.task(&handle, "task", || Ok(PushesInTask(3))).start().unwrap();
            panel.wait_for_async("task", |status| status.state == WorkerState::Running).await;
            drop(panel);
        });
        runtime.block_on(task).unwrap();
        no_task_is_left(&runtime.metrics());
    }
}

#[test]
fn a_current_thread_runtime_is_left_alone() {
    let runtime = current_thread();
    runtime.block_on(async {
        let mut panel = ControlPanel::builder().start().unwrap();
        starts_works_and_stops(&mut panel, "current-thread", true);
        let local = tokio::task::LocalSet::new();
        let in_local = async {
            let mut panel = ControlPanel::builder().start().unwrap();
            starts_works_and_stops(&mut panel, "local set", true);
        };
        local.run_until(in_local).await;
    });
    no_task_is_left(&runtime.metrics());
}

#[tokio::test]
async fn a_panel_in_a_test_of_one_thread_is_shut_down_without_blocking_it() {
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    panel.task(&handle, "task", || Ok(PushesInTask(1))).start().unwrap();
    panel.wait_for_async("task", |status| status.state == WorkerState::Running).await;
    // This thread goes on meanwhile.
    let other = tokio::spawn(async { 3 });
    let report = panel.shutdown_async(PATIENCE).await;
    assert!(report.complete, "{report:?}");
    assert_eq!(other.await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panel_in_a_test_of_several_threads_uses_its_runtime() {
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    panel.task(&handle, "task", || Ok(PushesInTask(1))).start().unwrap();
    panel.wait_for_async("task", |status| status.state == WorkerState::Running).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 1);
    let report = panel.shutdown_async(PATIENCE).await;
    assert!(report.complete, "{report:?}");
    no_task_is_left(&tokio::runtime::Handle::current().metrics());
}

#[test]
fn a_runtime_that_is_started_late_is_used_by_the_tasks_that_come_then() {
    let mut panel = ControlPanel::builder().start().unwrap();
    let (_running, handle) = pipeline();
    panel.worker(&handle, "early", || Ok(Pushes(1))).start().unwrap();
    let runtime = multi_thread(1);
    {
        let _entered = runtime.enter();
        panel.task(&handle, "late", || Ok(PushesInTask(2))).start().unwrap();
    }
    wait_until(&panel, "late", WorkerState::Running);
    assert_eq!(runtime.metrics().num_alive_tasks(), 1);
    assert!(panel.shutdown(PATIENCE).complete);
    no_task_is_left(&runtime.metrics());
}

#[test]
fn when_the_hosts_runtime_is_dropped_early_its_tasks_go_on_elsewhere() {
    let runtime = multi_thread(1);
    let (mut running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    let entered = runtime.enter();
    for name in ["one", "two", "three"] {
        panel.task(&handle, name, || Ok(PushesInTask(1))).start().unwrap();
        wait_until(&panel, name, WorkerState::Running);
    }
    drop(entered);
    runtime.shutdown_background();
    for name in ["one", "two", "three"] {
        let moved =
            panel.wait_for(name, deadline(), |status| status.state == WorkerState::Running && status.restarts > 0);
        let moved = moved.unwrap_or_else(|| panic!("{:?}", panel.workers()));
        assert_eq!((moved.restarts, moved.errors), (1, 1), "{moved:?}");
    }
    assert!(panel.shutdown(PATIENCE).complete);
    let report = running.shutdown(PATIENCE);
    assert_eq!(report.counters.faults.worker_errors, 3);
    assert_eq!(report.counters.faults.worker_escalations, 0, "nobody's fault");
    assert_eq!(items(&handle.reader().load()).len(), 6);
}

#[test]
fn a_runtime_that_was_given_and_is_dropped_early_ends_its_tasks_with_a_reason() {
    let single = current_thread();
    let unfit = ControlPanel::builder().runtime(RuntimeChoice::Handle(single.handle().clone())).start();
    assert_eq!(unfit.err(), Some(ControlError::RuntimeUnfit));
    let runtime = multi_thread(1);
    let (_running, handle) = pipeline();
    let choice = RuntimeChoice::Handle(runtime.handle().clone());
    let mut panel = ControlPanel::builder().runtime(choice).start().unwrap();
    panel.task(&handle, "task", || Ok(PushesInTask(1))).start().unwrap();
    wait_until(&panel, "task", WorkerState::Running);
    drop(runtime);
    let ended = wait_until(&panel, "task", WorkerState::Failed);
    assert_eq!(ended.last_failure, Some(mainlane::control::Failure::RuntimeLost));
    assert_eq!(panel.health(), Health::Degraded);
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn a_hosts_token_stops_everything() {
    let (_running, handle) = pipeline();
    let token = CancellationToken::new();
    let mut panel = ControlPanel::builder().stop_with(token.clone(), PATIENCE).start().unwrap();
    panel.worker(&handle, "thread", || Ok(Pushes(1))).start().unwrap();
    panel.task(&handle, "task", || Ok(PushesInTask(1))).start().unwrap();
    assert_eq!(panel.wait_for_shutdown(Instant::now()), None, "nobody asked for it");
    token.cancel();
    let report = panel.wait_for_shutdown(deadline()).unwrap();
    assert!(report.complete, "{report:?}");
    assert_eq!(current_thread().block_on(panel.wait_for_shutdown_async()), report);
    wait_until(&panel, "thread", WorkerState::Stopped);
    wait_until(&panel, "task", WorkerState::Stopped);
    let refused = panel.worker(&handle, "another", || Ok(Pushes(1))).start();
    assert_eq!(refused, Err(ControlError::Closed));
    assert_eq!(panel.shutdown(PATIENCE), report);
}

/// Pushes more than its lane holds, also as its last words.
struct Chatty;
impl Worker<Ledger> for Chatty {
    fn turn(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        while !ctx.is_cancelled() {
            ctx.lane().push(Note::Item(0))?;
        }
        Ok(Next::Again)
    }
    fn stop(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<(), WorkerError> {
        (0..1000).try_for_each(|_| ctx.lane().push(Note::Item(1)))?;
        Ok(())
    }
}

#[test]
fn a_host_that_drives_its_main_lane_itself_shuts_both_down_at_once() {
    let (mut main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
    let mut panel = ControlPanel::builder().start().unwrap();
    panel.worker(&handle, "chatty", || Ok(Chatty)).start().unwrap();
    while main_lane.turn(Budget::UNLIMITED).unwrap().events == 0 {
        std::thread::yield_now();
    }
    let (workers, pipeline) = panel.shutdown_with(&mut main_lane, PATIENCE);
    assert!(workers.complete && pipeline.complete, "{workers:?} {pipeline:?}");
    assert_eq!(items(&handle.reader().load()).iter().filter(|item| **item == 1).count(), 1000);
}

#[tokio::test]
async fn a_task_that_drives_its_main_lane_shuts_both_down_and_lets_others_move() {
    let (mut main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
    let mut panel = ControlPanel::builder().start().unwrap();
    panel.worker(&handle, "chatty", || Ok(Chatty)).start().unwrap();
    main_lane.input().await;
    let others = Count::default();
    let counted = others.clone();
    let other = tokio::spawn(async move {
        loop {
            counted.next();
            tokio::task::yield_now().await;
        }
    });
    let (workers, pipeline) = panel.shutdown_async_with(&mut main_lane, PATIENCE).await;
    assert!(workers.complete && pipeline.complete, "{workers:?} {pipeline:?}");
    assert_eq!(items(&handle.reader().load()).iter().filter(|item| **item == 1).count(), 1000);
    assert!(others.now() > 0, "this thread was not blocked");
    let (again, ended) = panel.shutdown_async_with(&mut main_lane, PATIENCE).await;
    assert_eq!((again, ended.complete), (workers, true));
    other.abort();
}

#[tokio::test]
async fn last_words_that_wait_to_be_seen_are_published_in_time_while_a_task_shuts_down() {
    /// Its last item is to be seen before it ends.
    struct Waits;
    impl Worker<Ledger> for Waits {
        fn turn(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
            ctx.lane().push(Note::Item(0))?;
            Ok(Next::Nudged)
        }
        fn stop(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<(), WorkerError> {
            for item in 1..=3 {
                ctx.lane().push(Note::Item(item))?;
                let mut reader = ctx.reader();
                while !items(&reader.load()).contains(&item) {
                    reader.wait_changed(deadline()).ok_or("it is not seen")?;
                }
            }
            Ok(())
        }
    }
    let builder = Pipeline::builder(Ledger::default()).publish(mainlane::Publish::AtMostEvery(SHORT));
    let (mut main_lane, handle) = builder.build().unwrap();
    let mut panel = ControlPanel::builder().start().unwrap();
    panel.worker(&handle, "waits", || Ok(Waits)).stop_within(2 * PATIENCE).start().unwrap();
    while main_lane.state().seen.is_empty() {
        main_lane.input().await;
        main_lane.turn(Budget::UNLIMITED).unwrap();
    }
    let (workers, pipeline) = panel.shutdown_async_with(&mut main_lane, 2 * PATIENCE).await;
    assert!(workers.complete && pipeline.complete, "{workers:?} {pipeline:?}");
    assert_eq!((workers.workers[0].errors, items(&handle.reader().load()).len()), (0, 4));
}
