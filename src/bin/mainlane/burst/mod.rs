//! `mainlane burst`: side by side with the peers.

mod machine;
mod ours;
mod peers;
mod rounds;
mod stream;
mod transport;

use std::process::ExitCode;

use crate::args::BurstArgs;

pub(crate) fn run(args: &BurstArgs) -> ExitCode {
    let load = |batch| stream::Load { capacity: 1024, batch, events: args.events };
    for (name, contenders) in [
        ("W0 single", stream::contenders::<i64, 1>(load(1))),
        ("W0 batch 32", stream::contenders::<i64, 1>(load(32))),
        ("W5 single", stream::contenders::<transport::Wide<1>, 3>(load(1))),
        ("W5 batch 16", stream::contenders::<transport::Wide<1>, 3>(load(16))),
    ] {
        if !args.workloads.is_empty() && !args.workloads.iter().any(|wanted| name.contains(wanted)) {
            continue;
        }
        println!("{name}");
        for row in rounds::run(contenders, args.rounds, args.seed) {
            println!(
                "  {:50} {:8.1} M/s [{:.1} {:.1}]  {:.2}",
                row.name,
                row.spread.median / 1e6,
                row.spread.lower / 1e6,
                row.spread.upper / 1e6,
                row.ratio.median
            );
        }
    }
    ExitCode::SUCCESS
}
