//! Workers that publish and subscribe.

use mainlane::Origin;
use mainlane::control::{Restarts, Woken};
use mainlane::signal::{Bus, Delivery, Signal, SignalOutlet, SignalReader};

use super::*;
use crate::domain::until;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Counted(u64);

impl Signal for Counted {
    const FAMILY: &'static str = "counted";
}

const PROBE: Origin = Origin::built_in("probe", 7);

/// Publishes one number a run, and waits for a nudge.
struct Speaks {
    outlet: Option<SignalOutlet<Counted>>,
    said: Count,
}

impl Worker<Ledger> for Speaks {
    fn start(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<(), WorkerError> {
        self.outlet = ctx.outlet();
        Ok(())
    }

    fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        if let Some(outlet) = &self.outlet {
            outlet.publish(Counted(self.said.next()))?;
        }
        Ok(Next::Nudged)
    }
}

/// Turns what it hears into events of its own lane; it says how each of its waits ended.
struct Listens {
    reader: Option<SignalReader<Counted>>,
    ended: crossbeam_channel::Sender<Woken>,
}

impl Worker<Ledger> for Listens {
    fn start(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<(), WorkerError> {
        self.reader = ctx.signals().map(|bus| bus.subscribe("listens").reader()).transpose()?;
        Ok(())
    }

    fn turn(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        let Some(reader) = &mut self.reader else { return Ok(Next::Done) };
        match ctx.wait_for_signal(reader, None) {
            Ok(Delivery::Signal { sent, .. }) => {
                assert_eq!(sent.source(), PROBE);
                ctx.lane().push(Note::Item(sent.0))?;
            }
            Ok(Delivery::Missed(missed)) => panic!("{missed:?}"),
            Err(woken) => self.ended.send(woken)?,
        }
        Ok(Next::Again)
    }
}

struct ListensInTask;

impl AsyncWorker<Ledger> for ListensInTask {
    async fn run(&mut self, ctx: &mut TaskContext<Ledger>) -> Result<(), WorkerError> {
        let Some(bus) = ctx.signals() else { return Ok(()) };
        let mut reader = bus.subscribe::<Counted>("task").from(PROBE).reader()?;
        loop {
            let cancelled = ctx.cancelled();
            tokio::select! {
                () = cancelled => return Ok(()),
                next = reader.next() => match next {
                    Some(Delivery::Signal { sent, .. }) => ctx.lane().push(Note::Item(1_000 + sent.0)).await?,
                    Some(Delivery::Missed(missed)) => panic!("{missed:?}"),
                    None => return Ok(()),
                },
            }
        }
    }
}

#[test]
fn workers_talk_to_each_other_and_know_nobody() {
    let (mut running, handle) = pipeline();
    let mut signals = Bus::builder().start().unwrap();
    let bus = signals.bus().clone();
    let mut panel = ControlPanel::builder().signals(&bus).start().unwrap();
    let (ended, endings) = crossbeam_channel::unbounded();
    panel.worker(&handle, "listens", move || Ok(Listens { reader: None, ended: ended.clone() })).start().unwrap();
    panel.task(&handle, "task", || Ok(ListensInTask)).start().unwrap();
    until("both listen", || bus.status::<Counted>().subscribers.len() == 2);
    let said = Count::default();
    let make = move || Ok(Speaks { outlet: None, said: said.clone() });
    panel.worker(&handle, "speaks", make).lane(|lane| lane.origin(PROBE)).start().unwrap();
    for number in 1..5 {
        until("heard", || items(&handle.reader().load()).len() == 2 * number);
        panel.nudge("speaks").unwrap();
    }
    until("heard", || items(&handle.reader().load()).len() == 10);
    let (by_task, by_thread): (Vec<_>, Vec<_>) =
        items(&handle.reader().load()).into_iter().partition(|item| *item >= 1_000);
    assert_eq!((by_thread, by_task), ((0..5).collect(), (1_000..1_005).collect()));
    // A wait for a signal hears of everything else that a wait hears of, also when there will never be a signal.
    panel.nudge("listens").unwrap();
    assert_eq!(endings.recv_timeout(PATIENCE), Ok(Woken::Nudged));
    assert!(signals.shutdown(PATIENCE).complete);
    panel.nudge("listens").unwrap();
    assert_eq!(endings.recv_timeout(PATIENCE), Ok(Woken::Nudged));
    assert!(panel.shutdown(PATIENCE).complete);
    assert!(endings.iter().all(|woken| woken == Woken::Cancelled));
    assert!(running.shutdown(PATIENCE).complete);
}

/// Says whether it was given a bus.
struct Looks(crossbeam_channel::Sender<(bool, Origin)>);

impl Worker<Ledger> for Looks {
    fn turn(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        assert_eq!(ctx.signals().is_some(), ctx.outlet::<Counted>().is_some());
        self.0.send((ctx.signals().is_some(), ctx.origin()))?;
        Ok(Next::Done)
    }
}

#[test]
fn a_panel_without_a_bus_gives_none_and_a_worker_is_its_lane() {
    let (_running, handle) = pipeline();
    let (_dispatcher, bus) = Bus::builder().build();
    let (said, heard) = crossbeam_channel::unbounded();
    for signals in [None, Some(&bus)] {
        let builder = signals.into_iter().fold(ControlPanel::builder(), |builder, bus| builder.signals(bus));
        let panel = builder.start().unwrap();
        let said = said.clone();
        panel.worker(&handle, "looks", move || Ok(Looks(said.clone()))).restarts(Restarts::Temporary).start().unwrap();
        let lane = wait_until(&panel, "looks", WorkerState::Done).lane;
        let origin = Origin::built_in("lane", u64::from(lane.number()));
        assert_eq!(heard.recv_timeout(PATIENCE), Ok((signals.is_some(), origin)));
    }
}
