mod random; // whatever happens, the invariants hold

use super::*;

/// A tree, a clock that is moved by hand, and the runs that were launched and have not ended.
struct Rig {
    tree: Tree,
    start: Instant,
    now: Instant,
    alive: BTreeMap<NodeId, Alive>,
    launches: Vec<(NodeId, Instant)>,
    notes: Vec<Note>,
}

struct Alive {
    run: u64,
    ready: bool,
    cancelled: bool,
    given_up: bool,
}

const SECOND: Duration = Duration::from_secs(1);

impl Rig {
    fn new(strategy: Strategy, intensity: Intensity) -> Self {
        let now = Instant::now();
        let tree = Tree::new(strategy, intensity);
        Self { tree, start: now, now, alive: BTreeMap::new(), launches: Vec::new(), notes: Vec::new() }
    }

    fn worker(&mut self, name: &str, parent: NodeId, restarts: Restarts, after: &[NodeId]) -> NodeId {
        let kind = Kind::Worker { backoff: Backoff::NONE, stop_within: 5 * SECOND };
        let spec = Spec { name: name.into(), parent, restarts, after: after.to_vec(), kind };
        let id = self.tree.add(spec, self.now);
        self.carry_out();
        id
    }

    fn group(&mut self, name: &str, parent: NodeId, strategy: Strategy, intensity: Intensity) -> NodeId {
        let kind = Kind::Group { strategy, intensity, backoff: Backoff::NONE };
        let spec = Spec { name: name.into(), parent, restarts: Restarts::Permanent, after: Vec::new(), kind };
        let id = self.tree.add(spec, self.now);
        self.carry_out();
        id
    }

    /// Does what the tree says, and holds it to its invariants.
    fn carry_out(&mut self) {
        while let Some(action) = self.tree.action() {
            match action {
                Action::Launch { worker, run } => {
                    let new = Alive { run, ready: false, cancelled: false, given_up: false };
                    assert!(self.alive.insert(worker, new).is_none(), "S1: {worker:?} has two runs");
                    for before in self.tree.nodes[&worker].after.clone() {
                        assert!(self.tree.is_ready(before), "S2: {worker:?} runs before {before:?}");
                    }
                    self.launches.push((worker, self.now));
                }
                Action::Cancel { worker } => {
                    if let Some(alive) = self.alive.get_mut(&worker) {
                        assert!(!alive.cancelled, "{worker:?} is cancelled twice");
                        alive.cancelled = true;
                    }
                }
                Action::GiveUp { worker } => {
                    self.alive.get_mut(&worker).into_iter().for_each(|run| run.given_up = true)
                }
                Action::Forget { worker } => {
                    assert!(!self.alive.contains_key(&worker), "{worker:?} is forgotten and runs")
                }
            }
        }
        self.notes.extend(std::iter::from_fn(|| self.tree.note()));
    }

    fn ready(&mut self, id: NodeId) {
        if let Some(alive) = self.alive.get_mut(&id) {
            alive.ready = true;
            let run = alive.run;
            self.tree.started(id, run, self.now);
            self.carry_out();
        }
    }

    fn end(&mut self, id: NodeId, how: Ended) {
        if let Some(Alive { run, .. }) = self.alive.remove(&id) {
            self.tree.ended(id, run, how, self.now);
            self.carry_out();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.tree.tick(self.now);
        self.carry_out();
    }

    fn all_ready(&mut self) {
        while let Some(id) = self.alive.iter().find(|(_, run)| !run.ready).map(|(id, _)| *id) {
            self.ready(id);
        }
    }

    fn stage(&self, id: NodeId) -> Stage {
        self.tree.look(id).unwrap().0
    }

    fn running(&self) -> Vec<NodeId> {
        self.alive.keys().copied().collect()
    }

    /// Lets those that were cancelled end, and returns them in the order in which they were.
    fn stopped_in_order(&mut self) -> Vec<NodeId> {
        let mut order = Vec::new();
        while let Some(id) = self.alive.iter().find(|(_, run)| run.cancelled).map(|(id, _)| *id) {
            order.push(id);
            self.end(id, Ended::Normally);
        }
        order
    }
}

/// S2 on the way down, as it is said: slow, and looking at everybody.
fn may_stop_by_the_book(tree: &Tree, id: NodeId) -> bool {
    let in_order = |earlier: NodeId, later: NodeId| {
        let group = tree.nodes[&later].parent;
        let strategy =
            if let NodeKind::Group { strategy, .. } = tree.nodes[&group].kind { Some(strategy) } else { None };
        earlier < later && tree.nodes[&earlier].parent == group && strategy == Some(Strategy::RestForOne)
    };
    let comes_after = |later: NodeId, earlier: NodeId| {
        tree.line(later)
            .any(|one| tree.line(earlier).any(|other| tree.nodes[&one].after.contains(&other) || in_order(other, one)))
    };
    tree.nodes.iter().all(|(other, node)| !node.stage.is_leaving() || !comes_after(*other, id))
}

/// S2 on the way up, as it is said.
fn may_start_by_the_book(tree: &Tree, id: NodeId) -> bool {
    let node = &tree.nodes[&id];
    let NodeKind::Group { strategy, .. } = tree.nodes[&node.parent].kind else { return false };
    let siblings = || tree.nodes.iter().filter(|(other, one)| one.parent == node.parent && **other != ROOT);
    tree.nodes[&node.parent].stage == Stage::Running
        && node.after.iter().all(|before| tree.is_ready(*before))
        && siblings().all(|(_, one)| strategy == Strategy::OneForOne || !one.stage.is_leaving())
        && siblings().all(|(other, one)| {
            strategy != Strategy::RestForOne || *other >= id || one.stage.is_gone() || tree.is_ready(*other)
        })
}

/// The short ways come to the same as the long ones.
fn goes_by_the_book(tree: &Tree) {
    for id in tree.nodes.keys().copied().filter(|id| *id != ROOT) {
        assert_eq!(tree.may_stop(id), may_stop_by_the_book(tree, id), "{id:?}");
        assert_eq!(tree.may_start(id), may_start_by_the_book(tree, id), "{id:?}");
    }
}

const OFTEN: Intensity = Intensity::at_most(1000, Duration::from_secs(5));

#[test]
fn who_is_started_again_by_itself_is_what_its_policy_says() {
    use Restarts::{Permanent, Temporary, Transient};
    let cases = [
        (Permanent, Ended::Normally, None),
        (Permanent, Ended::Badly, None),
        (Transient, Ended::Normally, Some(Over::Done)),
        (Transient, Ended::Badly, None),
        (Temporary, Ended::Normally, Some(Over::Done)),
        (Temporary, Ended::Badly, Some(Over::Failed)),
    ];
    for (restarts, how, over) in cases {
        let mut rig = Rig::new(Strategy::OneForOne, OFTEN);
        let id = rig.worker("w", ROOT, restarts, &[]);
        rig.ready(id);
        rig.end(id, how);
        match over {
            Some(over) => {
                assert_eq!((rig.stage(id), rig.launches.len()), (Stage::Over(over), 1), "{restarts:?} {how:?}")
            }
            None => assert_eq!((rig.stage(id), rig.launches.len()), (Stage::Starting, 2), "{restarts:?} {how:?}"),
        }
    }
}

#[test]
fn a_failure_takes_down_those_that_the_strategy_says_and_the_last_goes_first() {
    let cases =
        [(Strategy::OneForOne, vec![]), (Strategy::OneForAll, vec![0, 2, 3]), (Strategy::RestForOne, vec![3, 2])];
    for (strategy, expected) in cases {
        let mut rig = Rig::new(strategy, OFTEN);
        let ids: Vec<_> = (0..4).map(|n| rig.worker(&format!("{n}"), ROOT, Restarts::Permanent, &[])).collect();
        rig.all_ready();
        assert_eq!(rig.running(), ids);
        rig.end(ids[1], Ended::Badly);
        if strategy != Strategy::OneForOne {
            assert!(!rig.alive.contains_key(&ids[1]), "{strategy:?}: it waits for those that go down with it");
        }
        let stopped: Vec<_> =
            rig.stopped_in_order().iter().map(|id| ids.iter().position(|other| other == id).unwrap()).collect();
        assert_eq!(stopped, expected, "{strategy:?}");
        rig.all_ready();
        assert_eq!(rig.running(), ids, "{strategy:?}");
        let again: Vec<_> = rig.launches[4..].iter().map(|(id, _)| *id).collect();
        assert!(again.is_sorted(), "{strategy:?}: {again:?}");
    }
}

#[test]
fn the_default_intensity_is_one_restart_in_five_seconds() {
    let mut rig = Rig::new(Strategy::OneForOne, Intensity::default());
    let (id, other) =
        (rig.worker("w", ROOT, Restarts::Permanent, &[]), rig.worker("o", ROOT, Restarts::Permanent, &[]));
    rig.all_ready();
    rig.end(id, Ended::Badly);
    rig.pass(5 * SECOND);
    rig.end(id, Ended::Badly);
    assert_eq!(rig.stage(id), Stage::Starting, "the first one is five seconds ago");
    rig.pass(5 * SECOND - Duration::from_nanos(1));
    rig.end(id, Ended::Badly);
    assert!(rig.notes.contains(&Note::Escalates { group: ROOT, culprit: id }));
    assert!(rig.alive[&other].cancelled);
    rig.end(other, Ended::Normally);
    assert_eq!((rig.stage(id), rig.stage(other)), (Stage::Over(Over::Failed), Stage::Over(Over::Stopped)));
    assert!(rig.tree.is_over());
    rig.tree.start(ROOT, rig.now);
    rig.carry_out();
    assert_eq!(rig.running(), [id, other], "and it can be begun anew");
}

#[test]
fn a_group_that_has_had_enough_is_one_failure_of_the_group_that_it_is_in() {
    let mut rig = Rig::new(Strategy::OneForAll, Intensity::at_most(1, 60 * SECOND));
    let group = rig.group("g", ROOT, Strategy::OneForOne, Intensity::at_most(0, SECOND));
    let (one, two) =
        (rig.worker("1", group, Restarts::Permanent, &[]), rig.worker("2", group, Restarts::Temporary, &[]));
    let outside = rig.worker("3", ROOT, Restarts::Transient, &[]);
    rig.all_ready();
    rig.end(one, Ended::Badly);
    assert!(rig.notes.contains(&Note::Escalates { group, culprit: one }));
    assert_eq!(rig.stopped_in_order(), [two, outside], "the group, and then who stands and falls with it");
    rig.all_ready();
    assert_eq!(rig.running(), [one, outside], "one that is temporary does not come back");
    rig.end(one, Ended::Badly);
    rig.stopped_in_order();
    assert!(rig.tree.is_over(), "one restart was allowed");
    assert!(rig.notes.contains(&Note::Escalates { group: ROOT, culprit: group }));
}

#[test]
fn everyone_may_be_started_again_while_they_still_stop_after_too_many_failures() {
    let mut rig = Rig::new(Strategy::OneForOne, Intensity::at_most(0, SECOND));
    let [bad, slow] = ["bad", "slow"].map(|name| rig.worker(name, ROOT, Restarts::Permanent, &[]));
    rig.all_ready();
    rig.end(bad, Ended::Badly);
    assert!(rig.tree.is_escalated());
    assert!(rig.alive[&slow].cancelled);
    rig.tree.start(ROOT, rig.now);
    rig.carry_out();
    assert!(!rig.tree.is_escalated());
    rig.end(slow, Ended::Normally);
    rig.all_ready();
    assert_eq!(rig.running(), [bad, slow]);
}

#[test]
fn nobody_starts_before_or_stops_after_what_it_comes_after() {
    let mut rig = Rig::new(Strategy::OneForOne, OFTEN);
    let store = rig.worker("store", ROOT, Restarts::Permanent, &[]);
    let group = rig.group("readers", ROOT, Strategy::RestForOne, OFTEN);
    let first = rig.worker("first", group, Restarts::Permanent, &[store]);
    let second = rig.worker("second", group, Restarts::Permanent, &[]);
    assert_eq!(rig.running(), [store]);
    rig.ready(store);
    assert_eq!(rig.running(), [store, first]);
    rig.ready(first);
    rig.ready(second);
    rig.tree.shut_down(rig.now + 60 * SECOND, rig.now);
    rig.carry_out();
    assert_eq!(rig.stopped_in_order(), [second, first, store]);
    assert!(rig.tree.is_over());
}

#[test]
fn who_does_not_stop_in_time_is_given_up_and_never_doubled() {
    let mut rig = Rig::new(Strategy::OneForAll, OFTEN);
    let (stuck, other) =
        (rig.worker("s", ROOT, Restarts::Permanent, &[]), rig.worker("o", ROOT, Restarts::Permanent, &[]));
    rig.all_ready();
    rig.end(other, Ended::Badly);
    assert_eq!(rig.running(), [stuck], "the other waits");
    rig.pass(5 * SECOND);
    assert!(rig.alive[&stuck].given_up);
    assert_eq!(rig.notes.last(), Some(&Note::Stuck { worker: stuck }));
    assert_eq!(rig.running(), [stuck, other]);
    rig.end(stuck, Ended::Badly);
    assert_eq!(rig.running(), [stuck, other], "it ended after all, and is started again");
    assert_eq!(rig.launches.len(), 4);
}

#[test]
fn a_deadline_for_everything_is_kept_whatever_the_workers_do() {
    let mut rig = Rig::new(Strategy::RestForOne, OFTEN);
    let ids: Vec<_> = (0..3).map(|n| rig.worker(&format!("{n}"), ROOT, Restarts::Permanent, &[])).collect();
    rig.all_ready();
    rig.tree.shut_down(rig.now + SECOND, rig.now);
    rig.carry_out();
    rig.pass(SECOND);
    assert!(rig.tree.is_over());
    assert!(ids.iter().all(|id| rig.alive[id].cancelled && rig.alive[id].given_up));
}

#[test]
fn who_is_temporary_goes_down_with_the_others_and_stays_down() {
    let mut rig = Rig::new(Strategy::OneForAll, OFTEN);
    let (one, two) = (rig.worker("1", ROOT, Restarts::Permanent, &[]), rig.worker("2", ROOT, Restarts::Temporary, &[]));
    rig.all_ready();
    rig.end(one, Ended::Badly);
    assert_eq!(rig.stopped_in_order(), [two]);
    rig.all_ready();
    assert_eq!((rig.running(), rig.stage(two)), (vec![one], Stage::Over(Over::Stopped)));
}

#[test]
fn a_temporary_group_that_has_had_enough_is_nobodys_failure() {
    let mut rig = Rig::new(Strategy::OneForOne, Intensity::at_most(0, SECOND));
    let intensity = Intensity::at_most(0, SECOND);
    let kind = Kind::Group { strategy: Strategy::OneForOne, intensity, backoff: Backoff::NONE };
    let spec = Spec { name: "g".into(), parent: ROOT, restarts: Restarts::Temporary, after: Vec::new(), kind };
    let group = rig.tree.add(spec, rig.now);
    let (within, outside) =
        (rig.worker("1", group, Restarts::Permanent, &[]), rig.worker("2", ROOT, Restarts::Permanent, &[]));
    rig.all_ready();
    rig.end(within, Ended::Badly);
    assert_eq!((rig.stage(group), rig.running()), (Stage::Over(Over::Failed), vec![outside]));
    assert!(!rig.tree.is_escalated());
}

#[test]
fn rests_are_the_workers_own_grow_and_begin_anew_after_a_steady_run() {
    let mut rig = Rig::new(Strategy::RestForOne, Intensity::at_most(1000, 5 * SECOND));
    let earlier = rig.worker("o", ROOT, Restarts::Permanent, &[]);
    rig.ready(earlier);
    let kind = Kind::Worker { backoff: Backoff::between(SECOND, 64 * SECOND), stop_within: SECOND };
    let spec = Spec { name: "w".into(), parent: ROOT, restarts: Restarts::Permanent, after: Vec::new(), kind };
    let id = rig.tree.add(spec, rig.now);
    rig.carry_out();
    let fails_after = |rig: &mut Rig, time: Duration| {
        rig.pass(time);
        rig.end(id, Ended::Badly);
        let Some(Note::Restarts { rest, .. }) = rig.notes.last().copied() else { panic!("{:?}", rig.notes) };
        let Stage::Resting { until } = rig.stage(id) else { panic!("{:?}", rig.stage(id)) };
        // One that takes it along, and is quicker to come back, does not shorten it.
        rig.pass(rest / 2);
        rig.end(earlier, Ended::Badly);
        rig.ready(earlier);
        assert_eq!(rig.stage(id), Stage::Resting { until });
        rig.pass(rest);
        assert!(rig.alive.contains_key(&id));
        rest
    };
    // Each is up to as much again at random.
    for least in [SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND] {
        let rest = fails_after(&mut rig, Duration::ZERO);
        assert!(rest >= least && rest <= 2 * least, "{rest:?}, at least {least:?}");
    }
    assert!(fails_after(&mut rig, 5 * SECOND) <= 2 * SECOND, "it had run for as long as the stretch of the intensity");
}

#[test]
fn what_is_said_of_a_run_that_is_over_is_not_said_of_the_next() {
    let mut rig = Rig::new(Strategy::OneForOne, OFTEN);
    let id = rig.worker("w", ROOT, Restarts::Permanent, &[]);
    rig.ready(id);
    rig.end(id, Ended::Badly);
    rig.tree.ended(id, 1, Ended::Badly, rig.now);
    rig.tree.started(id, 1, rig.now);
    rig.carry_out();
    assert_eq!((rig.stage(id), rig.launches.len()), (Stage::Starting, 2));
}

#[test]
fn one_that_would_wait_for_itself_is_found() {
    let mut rig = Rig::new(Strategy::OneForOne, OFTEN);
    let one = rig.group("one", ROOT, Strategy::OneForOne, OFTEN);
    let in_one = rig.worker("in one", one, Restarts::Permanent, &[]);
    let kind = Kind::Group { strategy: Strategy::OneForOne, intensity: OFTEN, backoff: Backoff::NONE };
    let spec = Spec { name: "two".into(), parent: ROOT, restarts: Restarts::Permanent, after: vec![one], kind };
    let two = rig.tree.add(spec, rig.now);
    let in_two = rig.worker("in two", two, Restarts::Permanent, &[]);
    assert!(rig.tree.would_wait_for_itself(one, &[in_two]), "one would wait for two, which waits for one");
    assert!(rig.tree.would_wait_for_itself(one, &[one]), "its own group");
    assert!(!rig.tree.would_wait_for_itself(two, &[in_one]));
    assert!(!rig.tree.would_wait_for_itself(one, &[in_one]));
}

#[test]
fn what_it_ran_on_is_gone_counts_against_nobody() {
    let mut rig = Rig::new(Strategy::OneForAll, Intensity::at_most(0, SECOND));
    let (one, two) = (rig.worker("1", ROOT, Restarts::Temporary, &[]), rig.worker("2", ROOT, Restarts::Permanent, &[]));
    rig.all_ready();
    rig.end(one, Ended::Adrift { again: true });
    rig.end(two, Ended::Adrift { again: false });
    assert_eq!((rig.stage(one), rig.stage(two)), (Stage::Starting, Stage::Over(Over::Failed)));
    assert_eq!(rig.notes, []);
}

#[test]
fn the_last_word_of_the_host_counts() {
    let mut rig = Rig::new(Strategy::OneForOne, OFTEN);
    let id = rig.worker("w", ROOT, Restarts::Permanent, &[]);
    rig.ready(id);
    rig.tree.stop(id, rig.now);
    rig.tree.restart(id, rig.now);
    rig.carry_out();
    rig.stopped_in_order();
    assert_eq!((rig.stage(id), rig.launches.len()), (Stage::Starting, 2), "stopped, and then not");
    rig.tree.restart(id, rig.now);
    rig.tree.stop(id, rig.now);
    rig.carry_out();
    rig.stopped_in_order();
    assert_eq!(rig.stage(id), Stage::Over(Over::Stopped));
}

#[test]
fn everything_can_be_begun_anew_while_it_still_stops() {
    let mut rig = Rig::new(Strategy::OneForOne, Intensity::at_most(0, SECOND));
    let (id, other) =
        (rig.worker("w", ROOT, Restarts::Permanent, &[]), rig.worker("o", ROOT, Restarts::Permanent, &[]));
    rig.all_ready();
    rig.end(id, Ended::Badly);
    assert!(rig.tree.is_escalated());
    rig.tree.start(ROOT, rig.now);
    rig.carry_out();
    assert!(!rig.tree.is_escalated());
    assert_eq!(rig.stopped_in_order(), [other], "first all are down");
    assert_eq!(rig.running(), [id, other]);
}

#[test]
fn a_group_is_not_forgotten_before_all_within_it_have_ended() {
    // Removed while the worker runs, while it is stuck, and when its group is over already.
    for (before, stops_first) in [(0, false), (5, false), (5, true)] {
        let mut rig = Rig::new(Strategy::OneForOne, OFTEN);
        let outer = rig.group("outer", ROOT, Strategy::OneForOne, OFTEN);
        let inner = rig.group("inner", outer, Strategy::OneForOne, OFTEN);
        let id = rig.worker("w", inner, Restarts::Permanent, &[]);
        rig.ready(id);
        if before > 0 {
            rig.tree.stop(if stops_first { outer } else { id }, rig.now);
            rig.pass(before * SECOND);
            assert_eq!(rig.stage(id), Stage::Stuck { then: Then::Stop });
        }
        rig.tree.remove(outer, rig.now);
        rig.pass(10 * SECOND);
        assert_eq!(rig.stage(outer), Stage::Stuck { then: Then::Forget });
        assert_eq!((rig.tree.find("w"), rig.tree.find("outer")), (Some(id), Some(outer)), "nobody else has its name");
        rig.tree.start(id, rig.now);
        rig.end(id, Ended::Badly);
        assert_eq!((rig.tree.find("w"), rig.tree.find("inner"), rig.tree.find("outer")), (None, None, None));
        assert_eq!(rig.running(), []);
    }
}

#[test]
fn a_group_that_was_stopped_while_it_had_had_enough_stays_down() {
    for again in [false, true] {
        let mut rig = Rig::new(Strategy::OneForOne, OFTEN);
        let group = rig.group("g", ROOT, Strategy::OneForOne, Intensity::at_most(0, SECOND));
        let [bad, slow] = ["bad", "slow"].map(|name| rig.worker(name, group, Restarts::Permanent, &[]));
        rig.all_ready();
        rig.end(bad, Ended::Badly);
        assert_eq!(rig.stage(group), Stage::Leaving { then: Then::Fail });
        rig.tree.stop(group, rig.now);
        if again {
            rig.tree.start(group, rig.now);
        }
        rig.end(slow, Ended::Normally);
        rig.all_ready();
        if again {
            assert_eq!(rig.running(), [bad, slow]);
        } else {
            assert_eq!((rig.stage(group), rig.running()), (Stage::Over(Over::Stopped), vec![]));
        }
    }
}

#[test]
fn nothing_starts_again_once_everything_was_shut_down_and_what_became_of_it_stays() {
    let mut rig = Rig::new(Strategy::OneForOne, Intensity::at_most(0, SECOND));
    let done = rig.worker("done", ROOT, Restarts::Temporary, &[]);
    let [bad, slow] = ["bad", "slow"].map(|name| rig.worker(name, ROOT, Restarts::Permanent, &[]));
    rig.all_ready();
    rig.end(done, Ended::Normally);
    rig.end(bad, Ended::Badly);
    rig.tree.shut_down(rig.now + SECOND, rig.now);
    for _ in 0..2 {
        for id in [ROOT, done, bad] {
            rig.tree.start(id, rig.now);
            rig.tree.restart(id, rig.now);
        }
        assert!(rig.tree.is_escalated());
        assert_eq!((rig.stage(done), rig.stage(bad)), (Stage::Over(Over::Done), Stage::Over(Over::Failed)));
        rig.end(slow, Ended::Normally);
        assert!(rig.tree.is_over());
    }
    assert_eq!(rig.running(), []);
}
