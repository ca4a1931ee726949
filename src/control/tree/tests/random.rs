//! Random trees, and random things that happen to them.

use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use super::*;

/// Something that happens.
#[derive(Clone, Debug)]
enum Happens {
    Ready(usize),
    EndsWell(usize),
    EndsBadly(usize),
    Adrift(usize, bool),
    Pass(u64),
    Start(usize),
    Stop(usize),
    Restart(usize),
    Remove(usize),
    StartAgain,
}

fn happens() -> impl Generator<Value = Happens> {
    prop_oneof![
        4 => (0..8_usize).prop_map(Happens::Ready),
        2 => (0..8_usize).prop_map(Happens::EndsWell),
        3 => (0..8_usize).prop_map(Happens::EndsBadly),
        1 => (0..8_usize, any::<bool>()).prop_map(|(n, again)| Happens::Adrift(n, again)),
        3 => (1..4_000_u64).prop_map(Happens::Pass),
        1 => (0..8_usize).prop_map(Happens::Start),
        1 => (0..8_usize).prop_map(Happens::Stop),
        1 => (0..8_usize).prop_map(Happens::Restart),
        1 => (0..8_usize).prop_map(Happens::Remove),
        1 => proptest::prelude::Just(Happens::StartAgain),
    ]
}

/// Groups and workers, each with its group and what it comes after, both among those before it.
fn plant(rig: &mut Rig, plan: &[(bool, u8, u8, u8, u8)]) -> Vec<NodeId> {
    let mut ids = vec![ROOT];
    for (n, (is_group, parent, after, restarts, strategy)) in plan.iter().enumerate() {
        let groups: Vec<_> = ids.iter().copied().filter(|id| rig.tree.is_group(*id)).collect();
        let parent = groups[usize::from(*parent) % groups.len()];
        let after: Vec<_> = ids[1..].iter().copied().filter(|id| (*after >> (id.0 % 8)) & 1 == 1).take(1).collect();
        let after = if rig.tree.would_wait_for_itself(parent, &after) { Vec::new() } else { after };
        let restarts = [Restarts::Permanent, Restarts::Transient, Restarts::Temporary][usize::from(*restarts) % 3];
        let strategy = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne][usize::from(*strategy) % 3];
        let kind = if *is_group {
            Kind::Group { strategy, intensity: Intensity::at_most(2, 5 * SECOND), backoff: Backoff::NONE }
        } else {
            Kind::Worker { backoff: Backoff::between(SECOND / 100, SECOND), stop_within: SECOND }
        };
        ids.push(rig.tree.add(Spec { name: format!("{n}").into(), parent, restarts, after, kind }, rig.now));
        rig.carry_out();
    }
    ids.remove(0);
    ids
}

/// S3: how often members of a group were started because of a failure, within any stretch.
fn within_intensity(notes: &[(Instant, Note)], parent_of: impl Fn(NodeId) -> NodeId) {
    for (end, (moment, note)) in notes.iter().enumerate() {
        let Note::Restarts { node, .. } = note else { continue };
        let group = parent_of(*node);
        let since = notes[..=end].iter().rev().take_while(|(time, _)| *moment - *time < 5 * SECOND);
        // An escalation begins the count anew.
        let since =
            since.take_while(|(_, note)| !matches!(note, Note::Escalates { group: other, .. } if *other == group));
        let restarts =
            since.filter(|(_, note)| matches!(note, Note::Restarts { node, .. } if parent_of(*node) == group));
        assert!(restarts.count() <= 2, "S3: {group:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// S1 and S2 are looked at in `carry_out`; here S3 and S4, and that what runs in the end is what should.
    #[test]
    fn whatever_happens_the_invariants_hold_and_a_shutdown_ends_everything(
        plan in prop::collection::vec((prop::bool::weighted(0.3), any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>()), 1..8),
        root in 0..3_u8,
        script in prop::collection::vec(happens(), 0..120),
    ) {
        let strategy = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne][usize::from(root)];
        let mut rig = Rig::new(strategy, Intensity::at_most(2, 5 * SECOND));
        let ids = plant(&mut rig, &plan);
        let groups: BTreeMap<_, _> = ids.iter().map(|id| (*id, rig.tree.look(*id).unwrap().2)).collect();
        let id = |n: usize| ids[n % ids.len()];
        let mut told = Vec::new();
        for event in script {
            match event {
                Happens::Ready(n) => rig.ready(id(n)),
                Happens::EndsWell(n) => rig.end(id(n), Ended::Normally),
                Happens::EndsBadly(n) => rig.end(id(n), Ended::Badly),
                Happens::Adrift(n, again) => rig.end(id(n), Ended::Adrift { again }),
                Happens::Pass(ms) => rig.pass(Duration::from_millis(ms)),
                Happens::Start(n) => { rig.tree.start(id(n), rig.now); rig.carry_out(); }
                Happens::Stop(n) => { rig.tree.stop(id(n), rig.now); rig.carry_out(); }
                Happens::Restart(n) => { rig.tree.restart(id(n), rig.now); rig.carry_out(); }
                Happens::Remove(n) => { rig.tree.remove(id(n), rig.now); rig.carry_out(); }
                Happens::StartAgain => { rig.tree.start(ROOT, rig.now); rig.carry_out(); }
            }
            goes_by_the_book(&rig.tree);
            let now = rig.now;
            told.extend(std::mem::take(&mut rig.notes).into_iter().map(|note| (now, note)));
        }
        within_intensity(&told, |id| groups[&id]);
        // Nobody who should run is forgotten: whatever is up, rests or waits gets there when everyone behaves.
        for _ in 0..60 {
            let cancelled: Vec<_> = rig.alive.iter().filter(|(_, run)| run.cancelled).map(|(id, _)| *id).collect();
            cancelled.into_iter().for_each(|id| rig.end(id, Ended::Normally));
            rig.all_ready();
            rig.pass(SECOND);
        }
        let there: Vec<_> = ids.iter().filter(|id| rig.tree.look(**id).is_some()).collect();
        // Else nobody would have a reason to wait.
        let somebody_is_gone =
            there.iter().any(|id| matches!(rig.stage(**id), Stage::Over(Over::Stopped | Over::Failed)));
        for id in there {
            let stage = rig.stage(*id);
            let blocked = || rig.tree.nodes[id].after.iter().any(|before| rig.stage(*before) != Stage::Running);
            let parent_up = rig.stage(rig.tree.look(*id).unwrap().2) == Stage::Running;
            let in_order = rig.tree.is_group(*id) || rig.alive.contains_key(id);
            prop_assert!(
                match stage {
                    Stage::Running => in_order && parent_up,
                    Stage::Waiting => somebody_is_gone && (blocked() || !parent_up || !rig.tree.may_start(*id)),
                    Stage::Over(_) => true,
                    _ => false,
                },
                "{:?} is {:?}", id, stage
            );
        }
        rig.tree.shut_down(rig.now + 60 * SECOND, rig.now);
        rig.carry_out();
        // S4: without anybody's help.
        for _ in 0..=ids.len() {
            rig.pass(SECOND);
        }
        prop_assert!(rig.tree.is_over(), "S4");
        prop_assert!(rig.now < rig.start + Duration::from_secs(3600 * 24));
    }
}
