//! One run of a worker, from the factory to the last drop, on whatever it runs.
//!
//! Whatever the worker's code does, the run ends once, and says how: by itself, by the guard's drop when the runtime drops the task.
//! What is kept for the next run (the factory, and the port with the lane) goes back before that is said.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::control::context::{Port, TaskContext, WorkerContext};
use crate::control::desk::Shared;
use crate::control::status::{Failure, RunsAs, Step};
use crate::control::tree::NodeId;
use crate::control::wait::Woken;
use crate::control::worker::{AsyncWorker, Next, Worker, WorkerError};
use crate::core::{contain, panic_message};
use crate::lane::waiting::LetGo;
use crate::main_lane::reduce::Reducer;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// It was done, or was cancelled.
    Over,
    Failed(Failure),
}

/// Which run this is, and what tells the panel of it.
pub(crate) struct Ticket {
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: NodeId,
    pub(crate) run: u64,
    /// Cancelled when the worker is to stop.
    pub(crate) cancellation: CancellationToken,
    /// Cancelled when it did not in time.
    pub(crate) given_up: CancellationToken,
}

/// What the panel has of a run.
pub(crate) struct Launched {
    pub(crate) carrier: Carrier,
    pub(crate) let_go: LetGo,
}

/// What a run is on, to be joined when it has ended.
pub(crate) enum Carrier {
    Thread(JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

/// Begins runs of one worker, whatever its types are.
pub(crate) trait Launch: Send {
    /// Begins a run. Not while another one lasts.
    fn launch(&mut self, ticket: Ticket, name: &str, runtime: Option<Handle>) -> Result<Launched, Failure>;
}

/// What goes from one run to the next.
struct Kit<S: Reducer, P, F> {
    port: Port<S, P>,
    factory: Contained<F>,
}

/// The kit, while no run has it.
type Slot<S, P, F> = Arc<Mutex<Option<Kit<S, P, F>>>>;

/// A [`Worker`]'s.
pub(crate) struct Threads<S: Reducer, P, F> {
    slot: Slot<S, P, F>,
    runs_as: RunsAs,
}

/// An [`AsyncWorker`]'s.
pub(crate) struct Tasks<S: Reducer, P, F> {
    slot: Slot<S, P, F>,
}

impl<S: Reducer, P, F> Threads<S, P, F> {
    pub(crate) fn new(port: Port<S, P>, factory: F, runs_as: RunsAs) -> Self {
        let factory = Contained(Some(factory));
        Self { slot: Arc::new(Mutex::new(Some(Kit { port, factory }))), runs_as }
    }
}

impl<S: Reducer, P, F> Tasks<S, P, F> {
    pub(crate) fn new(port: Port<S, P>, factory: F) -> Self {
        let factory = Contained(Some(factory));
        Self { slot: Arc::new(Mutex::new(Some(Kit { port, factory }))) }
    }
}

const NO_RUNTIME: &str = "there is no runtime";
const NO_KIT: &str = "its last run has not ended";

/// Takes the kit for a run.
fn take<S: Reducer, P, F>(
    slot: &Slot<S, P, F>,
    ticket: Ticket,
    runtime: &Option<Handle>,
) -> Result<(Run<S, P, F>, LetGo), Failure> {
    let kit = slot.lock().take();
    let Some(mut kit) = kit else { return Err(Failure::NotStarted { message: NO_KIT.to_owned() }) };
    let let_go = kit.port.lane.let_go();
    kit.port.cancellation = ticket.cancellation.clone();
    kit.port.runtime.clone_from(runtime);
    Ok((Run { kit: Some(kit), slot: slot.clone(), ticket, end: None }, let_go))
}

impl<S: Reducer, P, W, F> Launch for Threads<S, P, F>
where
    P: Send + Sync + 'static,
    W: Worker<S, P>,
    F: FnMut() -> Result<W, WorkerError> + Send + 'static,
{
    fn launch(&mut self, ticket: Ticket, name: &str, runtime: Option<Handle>) -> Result<Launched, Failure> {
        let (run, let_go) = take(&self.slot, ticket, &runtime)?;
        let parcel = Arc::new(Mutex::new(Some(run)));
        let sent = parcel.clone();
        let work = move || {
            let run = sent.lock().take();
            run.into_iter().for_each(|run| run.here(work_through::<S, P, W, F>));
        };
        let carrier = match (self.runs_as, runtime) {
            (RunsAs::Thread, _) => start(name, work).map(Carrier::Thread).map_err(|error| error.to_string()),
            (_, Some(runtime)) => contain(|| start_blocking(&runtime, name, work)).map(Carrier::Task),
            (_, None) => Err(NO_RUNTIME.to_owned()),
        };
        match carrier {
            Ok(carrier) => Ok(Launched { carrier, let_go }),
            Err(message) => {
                let failure = Failure::NotStarted { message };
                // Back from what was refused, which may have been kept for later all the same.
                let run = parcel.lock().take();
                run.into_iter().for_each(|mut run| run.end = Some(RunEnd::Failed(failure.clone())));
                Err(failure)
            }
        }
    }
}

impl<S: Reducer, P, W, F> Launch for Tasks<S, P, F>
where
    P: Send + Sync + 'static,
    W: AsyncWorker<S, P>,
    F: FnMut() -> Result<W, WorkerError> + Send + 'static,
{
    fn launch(&mut self, ticket: Ticket, _: &str, runtime: Option<Handle>) -> Result<Launched, Failure> {
        let Some(runtime) = runtime else { return Err(Failure::NotStarted { message: NO_RUNTIME.to_owned() }) };
        let (run, let_go) = take(&self.slot, ticket, &Some(runtime.clone()))?;
        let spawned = contain(|| runtime.spawn(run.in_task::<W>()));
        let carrier = Carrier::Task(spawned.map_err(|message| Failure::NotStarted { message })?);
        Ok(Launched { carrier, let_go })
    }
}

/// A thread for a run.
fn start(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    #[cfg(test)]
    if tests::is_refused(name) {
        return Err(std::io::Error::other("no threads left"));
    }
    std::thread::Builder::new().name(name.replace('\0', " ")).spawn(work)
}

/// A thread of the runtime's for a run. Panics when the system refuses it one.
fn start_blocking(runtime: &Handle, name: &str, work: impl FnOnce() + Send + 'static) -> tokio::task::JoinHandle<()> {
    let _ = name;
    #[cfg(test)]
    if tests::is_refused(name) {
        tests::keep(work);
        panic!("no threads left");
    }
    runtime.spawn_blocking(work)
}

/// A run. Dropped, it ends: as it was told, or because what it ran on is gone.
struct Run<S: Reducer, P, F> {
    kit: Option<Kit<S, P, F>>,
    slot: Slot<S, P, F>,
    ticket: Ticket,
    end: Option<RunEnd>,
}

impl<S: Reducer, P, F> Drop for Run<S, P, F> {
    fn drop(&mut self) {
        *self.slot.lock() = self.kit.take();
        // The last one, with the lane and the factory, when the panel is gone.
        let slot = std::mem::take(&mut self.slot);
        let _ = contain(move || drop(slot));
        let end = self.end.take().unwrap_or(RunEnd::Failed(Failure::RuntimeLost));
        self.ticket.shared.ended(self.ticket.worker, self.ticket.run, end);
    }
}

impl<S: Reducer, P, F> Run<S, P, F> {
    /// The whole run, on this thread.
    fn here(mut self, work: impl FnOnce(&mut WorkerContext<S, P>, &mut F, &Ticket) -> Result<(), Failure>) {
        if let Some(Kit { port, mut factory }) = self.kit.take() {
            let mut ctx = WorkerContext(port);
            let done = match factory.0.as_mut() {
                Some(factory) => work(&mut ctx, factory, &self.ticket),
                None => Ok(()),
            };
            self.kit = Some(Kit { port: ctx.0, factory });
            self.end = Some(done.map_or_else(RunEnd::Failed, |()| RunEnd::Over));
        }
    }

    /// The whole run, as a task.
    async fn in_task<W>(mut self)
    where
        W: AsyncWorker<S, P>,
        F: FnMut() -> Result<W, WorkerError>,
        P: Send + Sync,
    {
        // Stays in the run, so that it goes back wherever the task is dropped.
        let mut held = Held::take(&mut self);
        let end = held.work().await;
        drop(held);
        self.end = Some(end.map_or_else(RunEnd::Failed, |()| RunEnd::Over));
    }
}

/// The kit of a task that runs: put back when it is dropped.
struct Held<'a, S: Reducer, P, F> {
    ctx: Option<(TaskContext<S, P>, Contained<F>)>,
    run: &'a mut Run<S, P, F>,
}

impl<'a, S: Reducer, P, F> Held<'a, S, P, F> {
    fn take(run: &'a mut Run<S, P, F>) -> Self {
        let ctx = run.kit.take().map(|Kit { port, factory }| (TaskContext(port), factory));
        Self { ctx, run }
    }

    async fn work<W>(&mut self) -> Result<(), Failure>
    where
        W: AsyncWorker<S, P>,
        F: FnMut() -> Result<W, WorkerError>,
        P: Send + Sync,
    {
        let Self { ctx, run } = self;
        let Some((ctx, factory)) = ctx.as_mut() else { return Err(Failure::NotStarted { message: NO_KIT.to_owned() }) };
        let Some(factory) = factory.0.as_mut() else { return Ok(()) };
        let mut worker = Contained(Some(step(Step::Make, factory)?));
        run.ticket.started();
        let given_up = run.ticket.given_up.clone();
        let outcome = {
            let Some(worker) = worker.0.as_mut() else { return Ok(()) };
            // Called in the first poll, where its panic is contained: it need not be an `async fn`.
            let mut running = Contained(Some(Box::pin(async move { worker.run(ctx).await })));
            let mut leave = std::pin::pin!(given_up.cancelled());
            let outcome = poll_fn(|task| {
                if let Poll::Ready(outcome) = running.poll(task) {
                    return Poll::Ready(outcome);
                }
                // The worker has not stopped in time: it ends at this `await`.
                leave.as_mut().poll(task).map(|()| Ok(()))
            })
            .await;
            running.drop_here().and(outcome)
        };
        worker.drop_here().and(outcome)
    }
}

impl<S: Reducer, P, F> Drop for Held<'_, S, P, F> {
    fn drop(&mut self) {
        self.run.kit = self.ctx.take().map(|(ctx, factory)| Kit { port: ctx.0, factory });
    }
}

/// The host's value, whose drop may panic.
struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    fn drop_here(&mut self) -> Result<(), Failure> {
        let value = self.0.take();
        contain(|| drop(value)).map_err(|message| Failure::Panic { step: Step::Drop, message })
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        let _ = self.drop_here();
    }
}

impl<T: Future<Output = Result<(), WorkerError>>> Contained<Pin<Box<T>>> {
    fn poll(&mut self, task: &mut std::task::Context<'_>) -> Poll<Result<(), Failure>> {
        let Some(future) = self.0.as_mut() else { return Poll::Ready(Ok(())) };
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            Ok(Poll::Ready(Err(error))) => Poll::Ready(Err(failure(Step::Turn, error))),
            Err(panic) => Poll::Ready(Err(Failure::Panic { step: Step::Turn, message: panic_message(panic) })),
        }
    }
}

impl Ticket {
    fn started(&self) {
        self.shared.started(self.worker, self.run);
    }
}

/// A worker's life, step by step.
fn work_through<S, P, W, F>(ctx: &mut WorkerContext<S, P>, factory: &mut F, ticket: &Ticket) -> Result<(), Failure>
where
    S: Reducer,
    W: Worker<S, P>,
    F: FnMut() -> Result<W, WorkerError>,
{
    let mut worker = Contained(Some(step(Step::Make, factory)?));
    let Some(it) = worker.0.as_mut() else { return Ok(()) };
    let lived = live(it, ctx, ticket);
    worker.drop_here().and(lived)
}

fn live<S: Reducer, P, W: Worker<S, P>>(
    worker: &mut W,
    ctx: &mut WorkerContext<S, P>,
    ticket: &Ticket,
) -> Result<(), Failure> {
    step(Step::Start, || worker.start(ctx))?;
    ticket.started();
    while !ctx.is_cancelled() {
        let until = match step(Step::Turn, || worker.turn(ctx))? {
            Next::Again => continue,
            Next::Done => break,
            Next::After(duration) => Instant::now().checked_add(duration),
            Next::Until(moment) => Some(moment),
            Next::Nudged => None,
        };
        if ctx.wait_until(until) == Woken::Cancelled {
            break;
        }
    }
    step(Step::Stop, || worker.stop(ctx))
}

/// One step of the worker's own code.
fn step<T>(step: Step, work: impl FnOnce() -> Result<T, WorkerError>) -> Result<T, Failure> {
    match contain(work) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failure(step, error)),
        Err(message) => Err(Failure::Panic { step, message }),
    }
}

/// What an error says, which is the host's code as well.
fn failure(step: Step, error: WorkerError) -> Failure {
    match contain(|| error.to_string()) {
        Ok(message) => {
            let _ = contain(|| drop(error));
            Failure::Error { step, message }
        }
        Err(message) => {
            std::mem::forget(error);
            Failure::Panic { step, message }
        }
    }
}

#[cfg(test)]
mod tests;
