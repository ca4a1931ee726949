//! Producers that push as fast as they can, and one consumer: how many events go through per second.

use mainlane::Publish;

use super::BurstArgs;
use super::limits::Bound;
use super::machine;
use super::ours::Mainlane;
use super::peers::{
    Crossbeam, DisruptorMulti, DisruptorSingle, Flume, HandMade, Kanal, Of, Rings, Std, Thingbuf, Tokio,
};
use super::rounds::{self, Contender, Table};
use super::transport::{Checked, Meter, Payload, Sending, Transport, Wide, run};

/// What one slice pushes.
#[derive(Clone, Copy)]
struct Load {
    capacity: usize,
    /// Events per push; one is pushed singly.
    batch: usize,
    /// Of each producer, in all.
    events: u64,
}

pub(crate) fn one_producer(args: &BurstArgs) -> Vec<Table> {
    [1, 32].map(|batch| table::<i64, 1>("W0 one producer of 8 bytes", batch, args)).into()
}

pub(crate) fn three_producers(args: &BurstArgs) -> Vec<Table> {
    [1, 16].map(|batch| table::<Wide<1>, 3>("W5 three producers of 24 bytes", batch, args)).into()
}

fn table<T: Payload, const PRODUCERS: usize>(name: &str, batch: usize, args: &BurstArgs) -> Table {
    let load = Load { capacity: 1024, batch, events: args.events };
    let how = if batch == 1 { "one by one".to_owned() } else { format!("in batches of {batch}") };
    let contenders = contenders::<T, PRODUCERS>(load);
    let name = format!("{name}, {how}");
    let mut table = rounds::run(name, "events per second", true, contenders, args.rounds as usize, args.seed);
    table.notes.extend(machine::note_if_crowded(PRODUCERS));
    table.limit(Bound::packed(size_of::<T>()));
    if batch == 1 {
        table.limit(Bound::updates(1).when_clocked());
    }
    table
}

/// All contenders, for `PRODUCERS` producers of `T`. The first is what the others are compared with.
fn contenders<T: Payload, const PRODUCERS: usize>(load: Load) -> Vec<Contender> {
    let ours = |clocked, publish| Mainlane { clocked, publish };
    let mut all = vec![
        of::<T, _, PRODUCERS>("mainlane, in causal order", ours(true, Publish::OnRequest), load),
        of::<T, _, PRODUCERS>("mainlane, in causal order, a snapshot each turn", ours(true, Publish::EveryTurn), load),
        of::<T, _, PRODUCERS>("mainlane, unclocked", ours(false, Publish::OnRequest), load),
        of::<T, _, PRODUCERS>("rtrb, no order between rings", Of::<Rings>::new(), load),
        of::<T, _, PRODUCERS>("crossbeam-channel", Of::<Crossbeam>::new(), load),
        of::<T, _, PRODUCERS>("kanal", Of::<Kanal>::new(), load),
        of::<T, _, PRODUCERS>("flume", Of::<Flume>::new(), load),
        of::<T, _, PRODUCERS>("tokio mpsc", Of::<Tokio>::new(), load),
        of::<T, _, PRODUCERS>("std mpsc", Of::<Std>::new(), load),
        of::<T, _, PRODUCERS>("thingbuf", Of::<Thingbuf>::new(), load),
        of::<T, _, PRODUCERS>("by hand: a channel and a locked state", HandMade, load),
    ];
    all.insert(
        3,
        match PRODUCERS {
            1 => of::<T, _, PRODUCERS>("disruptor", Of::<DisruptorSingle>::new(), load),
            _ => of::<T, _, PRODUCERS>("disruptor", Of::<DisruptorMulti>::new(), load),
        },
    );
    all
}

fn of<T: Payload, R: Transport<T>, const PRODUCERS: usize>(name: &str, transport: R, load: Load) -> Contender {
    Contender::new(name, move || slice::<T, R, PRODUCERS>(&transport, load))
}

/// Events per second.
fn slice<T: Payload, R: Transport<T>, const PRODUCERS: usize>(transport: &R, load: Load) -> f64 {
    let (senders, mut receiver) = transport.open(PRODUCERS, load.capacity, Checked::<PRODUCERS>::new());
    let expected = load.events * PRODUCERS as u64;
    let threads: Vec<_> = senders
        .into_iter()
        .enumerate()
        .map(|(producer, mut sender)| {
            std::thread::spawn(move || {
                machine::pin_producer(producer, PRODUCERS);
                push_all(&mut sender, producer, load);
                // Kept until all is taken: an end that leaves may be counted as part of the work.
                sender
            })
        })
        .collect();
    let consuming = std::thread::spawn(move || {
        machine::pin_consumer(PRODUCERS);
        let mut meter = Meter::new(expected / 10, expected);
        let consumer: Checked<PRODUCERS> = run::<T, _>(&mut receiver, &mut meter);
        (consumer, meter, receiver)
    });
    let (consumer, meter, _receiver) = consuming.join().expect("the consumer ends");
    consumer.assert(expected);
    threads.into_iter().for_each(|thread| drop(thread.join().expect("a producer ends")));
    meter.rate()
}

/// By itself: with the thread around it, fewer of the loop's values stay in registers.
#[inline(never)]
fn push_all<T: Payload>(sender: &mut impl Sending<T>, producer: usize, load: Load) {
    if load.batch == 1 {
        (0..load.events).for_each(|number| sender.push(T::new(producer, number)));
        return;
    }
    let mut number = 0;
    while number < load.events {
        let batch = (load.batch as u64).min(load.events - number);
        sender.push_batch((0..batch as usize).map(|at| T::new(producer, number + at as u64)));
        number += batch;
    }
}
