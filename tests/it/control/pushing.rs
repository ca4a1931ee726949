use mainlane::control::{CancellationToken, Congestion, Load};
use mainlane::{Budget, Refused};

use super::*;
use crate::domain::until;

/// Fills its lane, tells how it went, and waits for room then.
struct Fills {
    filled: std::sync::mpsc::Sender<(u64, Congestion)>,
    refused: CancellationToken,
}

impl Worker<Ledger> for Fills {
    fn turn(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        assert_eq!(ctx.lane().congestion(), Congestion::Clear);
        let mut pushed = 0;
        while ctx.lane().try_push(Note::Item(pushed)).is_ok() {
            pushed += 1;
        }
        // One that may be lost never waits.
        ctx.lane().push(Note::Level { key: 1, value: 1 })?;
        self.filled.send((pushed, ctx.lane().congestion()))?;
        match ctx.lane().push(Note::Item(1000)) {
            Ok(()) => {}
            Err(Refused::Full(event)) => {
                assert_eq!(event, Note::Item(1000), "it has it back");
                self.refused.cancel();
            }
            Err(Refused::Closed(_)) => return Err("closed".into()),
        }
        Ok(Next::Nudged)
    }
}

#[test]
fn a_lane_is_as_long_as_the_load_says_and_a_push_that_waits_is_let_go_at_the_deadline() {
    for (load, slots) in [(Load::Light, 64), (Load::Normal, 256), (Load::Heavy, 512), (Load::Slots(7), 7)] {
        // Nobody takes a turn.
        let (mut main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
        let mut panel = ControlPanel::builder().start().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let refused = CancellationToken::new();
        let telling = refused.clone();
        let make = move || Ok(Fills { filled: tell.clone(), refused: telling.clone() });
        panel.worker(&handle, "fills", make).load(load).stop_within(SHORT).start().unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok((slots, Congestion::Full)));
        until("the wait", || handle.counters().lanes[0].events.waited == 1);
        let lane = handle.counters().lanes[0].events;
        let report = panel.shutdown(PATIENCE);
        assert!(refused.is_cancelled());
        assert!(report.complete, "let go of, it stopped: {report:?}");
        assert_eq!(handle.counters().faults.workers_stuck, 1);
        main_lane.turn(Budget::UNLIMITED).unwrap();
        assert_eq!(items(main_lane.state()).len() as u64, slots);
        assert_eq!((lane.returned, handle.counters().events.returned), (1, 2), "each refusal is counted");
    }
}

#[test]
fn a_task_waits_for_room_and_goes_on_when_there_is_some() {
    struct Many;
    impl AsyncWorker<Ledger> for Many {
        async fn run(&mut self, ctx: &mut TaskContext<Ledger>) -> Result<(), WorkerError> {
            for n in 0..2_000 {
                ctx.lane().push(Note::Item(n)).await?;
            }
            ctx.cancelled().await;
            Ok(())
        }
    }
    let (mut main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
    let mut panel = ControlPanel::builder().start().unwrap();
    panel.task(&handle, "many", || Ok(Many)).load(Load::Slots(16)).start().unwrap();
    let patience = deadline();
    while items(main_lane.state()).len() < 2_000 {
        assert!(Instant::now() < patience, "{:?}", panel.workers());
        if main_lane.turn(Budget::events(5)).unwrap().events == 0 {
            std::thread::yield_now();
        }
    }
    let (workers, pipeline) = panel.shutdown_with(&mut main_lane, PATIENCE);
    assert!(workers.complete && pipeline.complete);
    assert!(items(main_lane.state()).into_iter().eq(0..2_000));
}

#[test]
fn a_task_that_waits_for_room_in_a_pipeline_that_ends_is_let_go() {
    struct Many(CancellationToken);
    impl AsyncWorker<Ledger> for Many {
        async fn run(&mut self, ctx: &mut TaskContext<Ledger>) -> Result<(), WorkerError> {
            loop {
                if let Err(refused) = ctx.lane().push(Note::Item(0)).await {
                    assert!(matches!(refused, Refused::Closed(_)));
                    self.0.cancel();
                    return Ok(());
                }
            }
        }
    }
    let (mut main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
    let mut panel = ControlPanel::builder().start().unwrap();
    let closed = CancellationToken::new();
    let telling = closed.clone();
    panel.task(&handle, "many", move || Ok(Many(telling.clone()))).load(Load::Light).start().unwrap();
    let patience = deadline();
    while handle.counters().lanes[0].events.waited == 0 {
        assert!(Instant::now() < patience);
        std::thread::yield_now();
    }
    assert!(main_lane.shutdown(PATIENCE).complete);
    wait_until(&panel, "many", WorkerState::Stopped);
    assert!(closed.is_cancelled());
    assert!(panel.shutdown(PATIENCE).complete);
}
