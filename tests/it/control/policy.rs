use mainlane::control::PolicyReader;

use super::*;
use crate::domain::until;

/// What the workers of these tests may do: so many items.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowance(usize);

/// Tells what its policy is, whenever it is nudged.
struct Tells(std::sync::mpsc::Sender<usize>);

impl Worker<Ledger, Allowance> for Tells {
    fn turn(&mut self, ctx: &mut WorkerContext<Ledger, Allowance>) -> Result<Next, WorkerError> {
        self.0.send(ctx.policy().0)?;
        Ok(Next::Nudged)
    }
}

#[test]
fn a_policy_is_part_of_the_state_and_reaches_everyone() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("host").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    let mut panel =
        ControlPanel::builder().policy(&handle, |state: &Ledger| Allowance(items(state).len())).start().unwrap();
    let mut policy: PolicyReader<Allowance> = panel.policy();
    assert_eq!(policy.load(), &Allowance(0));
    let (tell, told) = std::sync::mpsc::channel();
    panel.worker(&handle, "tells", move || Ok(Tells(tell.clone()))).start().unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(0));
    // A change is an event like any other.
    for items in 1..=20 {
        lane.push(Note::Item(7)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let changed = async { tokio::time::timeout(PATIENCE, policy.changed()).await.map(|policy| policy.0) };
        assert_eq!(runtime.block_on(changed), Ok(items));
    }
    panel.nudge("tells").unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(20));
    assert!(panel.shutdown(PATIENCE).complete);
    assert_eq!(policy.load(), &Allowance(20), "what it was stays");
    assert!(running.shutdown(PATIENCE).complete);
}

#[test]
fn a_projection_that_panics_is_told_and_the_policy_stays() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("host").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    let project = |state: &Ledger| {
        assert_ne!(items(state).len(), 1, "no policy for one");
        Allowance(items(state).len())
    };
    let mut panel = ControlPanel::builder().policy(&handle, project).start().unwrap();
    let mut policy = panel.policy();
    lane.push(Note::Item(7)).unwrap();
    until("the panic", || handle.counters().faults.worker_panics == 1);
    assert_eq!(policy.load(), &Allowance(0));
    lane.push(Note::Item(7)).unwrap();
    until("the next policy", || policy.load() == &Allowance(2));
    assert!(panel.shutdown(PATIENCE).complete);
    assert!(running.shutdown(PATIENCE).complete);
}

/// A change of the policy is in the journal, and undone like anything else.
#[cfg(feature = "journal")]
#[test]
fn a_policy_survives_with_its_state_and_is_undone_with_its_operation() {
    use crate::journal::{Book, Entry, journal, settle, whole};
    use crate::memory::Disk;
    use mainlane::{Budget, MainLane, Origin, Timeline};

    // Each event counts as two.
    let allowance = |state: &Book| Allowance(state.count as usize / 2);
    let disk = Disk::default();
    let open = || journal(&disk).timeline(Timeline::window(100)).recover(Book::default()).unwrap().0;
    let before = {
        let builder = open();
        let user = Origin::built_in("user", 1);
        let mut lane = builder.lane("user").origin(user).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        let mut panel = ControlPanel::builder().policy(&handle, allowance).start().unwrap();
        let mut policy = panel.policy();
        // What is published is what is durable, so turns go on.
        let reaches = |main_lane: &mut MainLane<Book>, policy: &mut PolicyReader<Allowance>, allowed: usize| {
            settle(main_lane);
            until(&format!("an allowance of {allowed}"), || {
                main_lane.turn(Budget::UNLIMITED).unwrap();
                policy.load() == &Allowance(allowed)
            });
        };
        lane.push(Entry::Add(1)).unwrap();
        reaches(&mut main_lane, &mut policy, 1);
        lane.push_batch(whole(7)).unwrap();
        reaches(&mut main_lane, &mut policy, 3);
        let undone = handle.undo(user);
        reaches(&mut main_lane, &mut policy, 1);
        undone.wait(deadline()).unwrap().unwrap();
        lane.push(Entry::Add(2)).unwrap();
        reaches(&mut main_lane, &mut policy, 2);
        assert!(panel.shutdown(PATIENCE).complete);
        assert!(main_lane.shutdown(PATIENCE).complete);
        policy.load().clone()
    };
    let (_main_lane, handle) = open().build().unwrap();
    let mut panel = ControlPanel::builder().policy(&handle, allowance).start().unwrap();
    assert_eq!((panel.policy().load(), before), (&Allowance(2), Allowance(2)));
    assert!(panel.shutdown(PATIENCE).complete);
}
