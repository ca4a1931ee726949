//! The models, and the control arms beside them.

use loom_tests::explore::{
    Bounds::{All, Preemptions},
    Weak, fails, holds,
};

mod cut {
    use super::*;
    use loom_tests::cut::*;

    #[test]
    fn hidden_channel_between_critical_events() {
        holds("hidden channel", All, || hidden_channel(Kinds::Critical, 1, Cutting::UntilStable));
    }

    #[test]
    fn hidden_channel_from_lossy_to_critical() {
        holds("lossy to critical", All, || hidden_channel(Kinds::LossyThenCritical, 1, Cutting::UntilStable));
    }

    #[test]
    fn hidden_channel_from_critical_to_lossy() {
        holds("critical to lossy", All, || hidden_channel(Kinds::CriticalThenLossy, 1, Cutting::UntilStable));
    }

    #[test]
    fn two_cuts_in_a_row() {
        holds("two cuts", All, || hidden_channel(Kinds::Critical, 2, Cutting::UntilStable));
    }

    #[test]
    fn one_thread_on_two_lanes() {
        for kinds in [Kinds::Critical, Kinds::LossyThenCritical, Kinds::CriticalThenLossy] {
            holds(&format!("one thread, two lanes, {kinds:?}"), All, move || {
                one_thread_two_lanes(kinds, Cutting::UntilStable)
            });
        }
    }

    #[test]
    fn a_batch_and_then_another_lane() {
        holds("batch", All, batch_then_another_lane);
    }

    #[test]
    fn a_lossy_event_between_critical_ones_of_a_batch() {
        holds("mixed batch", All, || mixed_batch(Between::Neighbours));
        holds("mixed batch after another lane", Preemptions(3), || {
            hidden_channel(Kinds::CriticalThenMixedBatch, 1, Cutting::UntilStable)
        });
    }

    #[test]
    fn a_chain_of_three_threads() {
        holds("chain of three", Preemptions(3), chain_of_three);
    }

    #[test]
    fn a_lossy_event_after_a_look_at_a_lane_that_is_alone() {
        holds("lossy after a look, alone", All, || lossy_after_a_look_at_a_lane_that_is_alone(Cutting::UntilStable));
    }

    #[test]
    fn hidden_channel_with_a_lossy_push_under_way() {
        for same_key in [false, true] {
            holds(&format!("push under way, same key: {same_key}"), Preemptions(3), move || {
                hidden_channel_with_a_push_under_way(same_key)
            });
        }
    }

    #[test]
    fn an_unclocked_lane() {
        for lossy_first in [false, true] {
            holds(&format!("unclocked, lossy first: {lossy_first}"), All, move || unclocked(lossy_first, true));
        }
    }

    #[test]
    fn control_an_unclocked_lane_without_a_bound() {
        fails("unclocked, no bound", All, None, || unclocked(false, false));
    }

    #[test]
    fn around_a_ring_of_two() {
        holds("around the ring", All, around_the_ring);
    }

    #[test]
    fn keys_that_jump_around_a_ring_of_two() {
        holds("keys that jump", All, || keys_that_jump(false));
    }

    #[test]
    fn values_that_are_moved_out_of_a_ring_of_two() {
        holds("moved out", All, || keys_that_jump(true));
    }

    #[test]
    fn a_lane_opened_while_a_cut_runs() {
        holds("opened meanwhile", All, || lane_opened_meanwhile(Cutting::UntilStable));
    }

    #[test]
    fn a_mailbox_closed_while_letters_are_posted() {
        holds("mailbox closed", All, mailbox_closed_meanwhile);
    }

    #[test]
    fn keys_rise_along_happens_before() {
        holds("keys rise", All, keys_rise);
    }

    #[test]
    fn control_one_pass() {
        fails("one pass", All, None, || one_thread_two_lanes(Kinds::Critical, Cutting::OnePass));
        fails("one pass", All, None, || hidden_channel(Kinds::Critical, 1, Cutting::OnePass));
        fails("one pass", All, None, || one_thread_two_lanes(Kinds::LossyThenCritical, Cutting::OnePass));
    }

    #[test]
    fn control_stamped_behind_its_batch() {
        fails("stamped late", All, None, || mixed_batch(Between::Late));
    }

    #[test]
    fn control_bound_admitted() {
        fails("bound admitted", All, None, || one_thread_two_lanes(Kinds::Critical, Cutting::OnePassWithBound));
    }

    #[test]
    fn control_too_much_of_a_lane_that_is_alone() {
        fails("admits all", All, None, || lossy_after_a_look_at_a_lane_that_is_alone(Cutting::AdmitsAll));
    }

    #[test]
    fn control_mailbox_looked_at_once() {
        fails("mailbox once", All, None, || lane_opened_meanwhile(Cutting::MailboxOnce));
    }
}

mod ring {
    use super::*;
    use loom_tests::ring::*;

    #[test]
    fn values_that_are_pushed_and_taken() {
        holds("pushed and taken, 2", All, || pushed_and_taken(2));
        holds("pushed and taken, 3", All, || pushed_and_taken(3));
    }

    #[test]
    fn a_producer_that_is_gone() {
        holds("abandoned", All, abandoned);
    }

    #[test]
    fn values_that_are_held_in_their_slot() {
        holds("held", All, held);
    }

    #[test]
    fn values_that_are_written_and_read_in_place() {
        holds("in place", All, in_place);
    }
}

mod table {
    use super::*;
    use loom_tests::table::*;

    #[test]
    fn values_that_replace_one_another() {
        holds("replaced, 2 against 2", All, || replaced(2, 2, false));
        holds("replaced, 3 against 1", All, || replaced(3, 1, false));
        holds("replaced, 3 against 2", All, || replaced(3, 2, false));
    }

    #[test]
    fn values_with_equal_keys() {
        holds("equal keys, 2 against 2", All, || replaced(2, 2, true));
        holds("equal keys, 3 against 2", All, || replaced(3, 2, true));
    }

    #[test]
    fn a_rule_that_unwinds() {
        holds("rule unwinds", All, rule_unwinds);
    }

    #[test]
    fn two_keys_in_turn() {
        holds("two keys, 2 against 1", All, || two_keys(2, 1));
        holds("two keys, 4 against 2", Preemptions(3), || two_keys(4, 2));
        holds("two keys, 4 against 3", Preemptions(4), || two_keys(4, 3));
    }

    #[test]
    fn a_lane_that_stops_half_way() {
        holds("lane stops", All, || lane_stops_half_way(false));
        holds("lane stops and goes on", All, || lane_stops_half_way(true));
    }

    #[test]
    fn a_main_lane_that_stops() {
        holds("main lane stops", All, main_lane_stops);
    }

    #[test]
    fn values_left_at_the_bound() {
        holds("left at the bound", All, left_at_the_bound);
    }

    #[test]
    fn values_that_merge() {
        holds("merged, 2 against 2", All, || merged(2, 2));
        holds("merged, 3 against 1", All, || merged(3, 1));
        holds("merged, 3 against 2", All, || merged(3, 2));
    }

    #[test]
    fn a_place_for_another_key() {
        holds("place for another key", All, || place_for_another_key(1));
        holds("place for another key, 2 collects", All, || place_for_another_key(2));
    }

    #[test]
    fn values_left_to_the_table() {
        holds("left to the table", All, || left_to_the_table(false));
        holds("left to the table, a push that fills nothing", All, || left_to_the_table(true));
    }

    #[test]
    fn tiers_of_shedding() {
        holds("tiers", All, || tiers(1));
        holds("tiers, 2 collects", All, || tiers(2));
    }

    #[test]
    fn two_keys_and_a_third_one() {
        holds("two keys and a third", All, || two_keys_and_a_third(1));
    }
}

mod gate {
    use super::*;
    use loom_tests::gate::Announced::{Counted, CountedLate, Flagged};
    use loom_tests::gate::*;

    #[test]
    fn shut_while_a_push_is_under_way() {
        for pushes in [[Counted, Counted], [Flagged, Flagged], [Counted, Flagged], [Flagged, Counted]] {
            holds(&format!("shut while pushing, {pushes:?}"), All, move || shut_while_pushing(pushes));
        }
    }

    #[test]
    fn shut_while_a_run_is_under_way() {
        for run in [Run::Critical, Run::Mixed] {
            holds(&format!("shut while pushing a run, {run:?}"), All, move || {
                shut_while_pushing_a_run(run, Flag::Last)
            });
        }
    }

    #[test]
    fn control_a_run_that_raises_no_flag_or_one_that_is_looked_at_first() {
        fails("no flag", All, None, || shut_while_pushing_a_run(Run::Unflagged, Flag::Last));
        fails("flag first", All, None, || shut_while_pushing_a_run(Run::Mixed, Flag::First));
    }

    #[test]
    fn shut_while_a_lossy_push_is_under_way() {
        holds("shut while pushing lossy", All, shut_while_pushing_lossy);
    }

    #[test]
    fn a_push_after_shut_is_refused() {
        holds("refused after shut", All, refused_after_shut);
    }

    #[test]
    fn a_producer_that_leaves() {
        holds("producer leaves", All, producer_leaves);
    }

    #[test]
    fn control_without_barriers() {
        for announced in [Counted, Flagged] {
            let model = move || shut_while_pushing([announced; 2]);
            fails("no light barrier", All, Some(Weak::Light), model);
            fails("no heavy barrier", All, Some(Weak::Heavy), model);
        }
    }

    #[test]
    fn control_counted_too_late() {
        fails("counted too late", All, None, || shut_while_pushing([CountedLate; 2]));
    }
}

mod wake {
    use super::*;
    use loom_tests::wake::*;

    #[test]
    fn a_sleeper_and_one_ringer() {
        holds("one sleep", All, one_sleep);
        holds("one ringer", All, || sleeper_and_ringers(1, 1));
        holds("one ringer, twice", All, || sleeper_and_ringers(1, 2));
    }

    #[test]
    fn a_sleeper_and_two_ringers() {
        holds("two ringers", Preemptions(4), || sleeper_and_ringers(2, 1));
    }

    #[test]
    fn a_sleeper_and_lossy_pushes() {
        holds("sleep on a table, 2", All, || sleep_on_a_table(2));
        holds("sleep on a table, 3", All, || sleep_on_a_table(3));
    }

    #[test]
    fn one_answer_to_one_arming() {
        holds("one answer", All, one_answer);
    }

    #[test]
    fn a_producer_that_waits_for_room() {
        holds("waits for room", All, || producer_waits_for_room(WaitEnds::Room));
        holds("waits for room, shut", All, || producer_waits_for_room(WaitEnds::Gate));
        holds("let go of", All, || a_sleeper_is_let_go_of(true));
        holds("waits for room, let go", All, || producer_waits_for_room(WaitEnds::LetGo));
    }

    #[test]
    fn a_main_lane_that_waits_for_quiet() {
        holds("waits for quiet", All, || main_lane_waits_for_quiet(Ending::LeavesThenRings));
        holds("waits for what is counted", All, || main_lane_waits_for_what_is_counted(Ending::LeavesThenRings));
    }

    #[test]
    fn a_main_lane_that_waits_for_a_lane_to_be_left() {
        holds("waits for a lane to be left", All, main_lane_waits_for_a_lane_to_be_left);
    }

    #[test]
    fn a_notice_to_a_reader() {
        holds("notice", All, || notice(1));
        holds("notice, three publications", All, || notice(3));
    }

    #[test]
    fn control_without_barriers() {
        for weak in [Weak::Light, Weak::Heavy] {
            fails("no barrier", All, Some(weak), one_sleep);
            fails("no barrier, table", All, Some(weak), || sleep_on_a_table(2));
        }
    }

    #[test]
    fn control_a_producer_that_is_let_go_too_late() {
        fails("rung before it is let go", All, None, || a_sleeper_is_let_go_of(false));
    }

    #[test]
    fn control_a_refused_push_that_does_not_ring() {
        fails("refused without a ring", All, None, || main_lane_waits_for_quiet(Ending::RingsIfAccepted));
        fails("the same, counted", All, None, || main_lane_waits_for_what_is_counted(Ending::RingsIfAccepted));
    }

    #[test]
    fn control_a_push_that_rings_before_it_leaves() {
        fails("rings too early", All, None, || main_lane_waits_for_quiet(Ending::RingsThenLeaves));
        fails("the same, counted", All, None, || main_lane_waits_for_what_is_counted(Ending::RingsThenLeaves));
    }
}

mod snapshot {
    use super::*;
    use loom_tests::snapshot::*;

    #[test]
    fn the_version_is_behind_the_cell() {
        holds("version behind cell", All, version_behind_cell);
    }

    #[test]
    fn a_snapshot_that_is_used_again() {
        holds("used again", All, used_again);
    }
}

mod signal {
    use super::*;
    use loom_tests::signal::*;

    #[test]
    fn a_publisher_and_an_end() {
        holds("publisher and end", All, || an_end_in_the_middle(1, Putting::Ringing));
    }

    #[test]
    fn a_silent_publisher_and_an_end() {
        holds("silent publisher and end", All, || an_end_in_the_middle(1, Putting::Silent));
    }

    #[test]
    fn two_publishers_and_an_end() {
        holds("two publishers and end", Preemptions(3), || an_end_in_the_middle(2, Putting::Ringing));
    }

    #[test]
    fn control_without_the_publishers_barrier() {
        fails("end, no light barrier", All, Some(Weak::Light), || an_end_in_the_middle(1, Putting::Ringing));
    }

    #[test]
    fn control_without_the_dispatchers_barrier() {
        fails("end, no heavy barrier", All, Some(Weak::Heavy), || an_end_in_the_middle(1, Putting::Ringing));
    }

    #[test]
    fn what_was_published_before_the_end() {
        holds("before the end", Preemptions(3), || before_the_end(Taking::BeforeTheEndAndAfter));
    }

    #[test]
    fn control_taking_after_the_end_alone() {
        fails("taking after the end", Preemptions(3), None, || before_the_end(Taking::AfterTheEnd));
    }

    #[test]
    fn what_is_refused_before_the_dispatcher_sleeps() {
        holds("refusal and sleep", All, a_refusal_before_the_dispatcher_sleeps);
    }

    #[test]
    fn control_refusals_without_the_publishers_barrier() {
        fails("refusal, no light barrier", All, Some(Weak::Light), a_refusal_before_the_dispatcher_sleeps);
    }

    #[test]
    fn whoever_subscribed_first() {
        holds("subscribed first", All, || a_subscription_before_a_publication(Looking::AfterTheSignal));
    }

    #[test]
    fn control_looking_for_subscriptions_first() {
        fails("subscriptions first", All, None, || a_subscription_before_a_publication(Looking::BeforeTheSignal));
    }

    #[test]
    fn a_sleeping_dispatcher() {
        holds("sleeping dispatcher", All, a_dispatcher_that_sleeps);
    }

    #[test]
    fn control_a_sleeping_dispatcher_without_barriers() {
        for weak in [Weak::Light, Weak::Heavy] {
            fails("sleeping dispatcher, no barrier", All, Some(weak), a_dispatcher_that_sleeps);
        }
    }
}

mod ending {
    use super::*;
    use loom_tests::ending::*;

    #[test]
    fn one_at_work_and_an_end() {
        holds("end left to one", All, || an_end_that_is_left(1, Looking::AfterTheLock));
    }

    #[test]
    fn two_at_work_and_an_end() {
        holds("end left to two", Preemptions(3), || an_end_that_is_left(2, Looking::AfterTheLock));
    }

    #[test]
    fn control_without_the_workers_barrier() {
        fails("end left, no light barrier", All, Some(Weak::Light), || an_end_that_is_left(1, Looking::AfterTheLock));
    }

    #[test]
    fn control_without_the_leavers_barrier() {
        fails("end left, no heavy barrier", All, Some(Weak::Heavy), || an_end_that_is_left(1, Looking::AfterTheLock));
    }

    #[test]
    fn control_looking_before_the_lock_is_free() {
        fails("looking early", All, None, || an_end_that_is_left(1, Looking::BeforeTheLockIsFree));
    }

    #[test]
    fn control_one_who_does_not_look() {
        fails("one does not look", Preemptions(3), None, || an_end_that_is_left(2, Looking::NotTheLast));
    }
}

mod board {
    use super::*;
    use loom_tests::board::*;

    #[test]
    fn the_number_is_behind_the_cell() {
        holds("number behind cell", All, number_behind_cell);
    }

    #[test]
    fn control_cell_not_released() {
        fails("board's cell not released", All, Some(Weak::Cell), number_behind_cell);
    }
}

mod latch {
    use super::*;
    use loom_tests::latch::*;

    #[test]
    fn the_last_publication_is_before_the_end() {
        holds("ended", All, ended_after_the_last_publication);
    }

    #[test]
    fn a_request_is_answered_with_what_was_pushed_before() {
        for by_another in [false, true] {
            for taking in [Taking::BeforeTheCut, Taking::BetweenTwoCuts] {
                holds(&format!("request, by another: {by_another}, {taking:?}"), All, move || {
                    a_request_is_answered(by_another, taking)
                });
            }
        }
    }

    #[test]
    fn a_lane_that_is_opened_before_a_request() {
        holds("opened and asked", All, || a_lane_is_opened_before_a_request(Adopting::AfterTheRequest));
    }

    #[test]
    fn control_lanes_are_adopted_before_the_request() {
        fails("adopted before", All, None, || a_lane_is_opened_before_a_request(Adopting::BeforeTheRequest));
    }

    #[test]
    fn two_requests_at_once() {
        holds("two requests", All, two_requests);
    }

    #[test]
    fn control_a_request_taken_after_the_cut() {
        fails("request after the cut", All, None, || a_request_is_answered(false, Taking::AfterTheCut));
    }
}

mod operations {
    use super::*;
    use loom_tests::cut::Cutting;
    use loom_tests::operations::*;

    #[test]
    fn an_operation_is_sealed_by_its_end() {
        for lossy in [false, true] {
            holds(&format!("sealed, lossy progress: {lossy}"), Preemptions(3), move || {
                sealed_by_its_end(lossy, Cutting::UntilStable)
            });
        }
    }

    #[test]
    fn an_operation_that_two_threads_share() {
        holds("started and ended by two", All, || started_and_ended_by_two(Cutting::UntilStable));
    }

    #[test]
    fn control_one_pass() {
        fails("sealed, one pass", All, None, || sealed_by_its_end(false, Cutting::OnePass));
        fails("two, one pass", All, None, || started_and_ended_by_two(Cutting::OnePass));
    }
}

mod durable {
    use super::*;
    use loom_tests::durable::*;

    #[test]
    fn what_is_durable_was_written() {
        holds("durable", All, || written_before_said(Saying::AfterWriting));
    }

    #[test]
    fn control_said_before_it_is_written() {
        fails("said too early", All, None, || written_before_said(Saying::BeforeWriting));
    }
}

mod ready {
    use super::*;
    use loom_tests::ready::*;

    #[test]
    fn nothing_is_left_lying_by_one_who_drives() {
        holds("one producer, one driver", All, || nothing_is_left_lying(1, Sleeping::ArmsThenRests));
    }

    #[test]
    fn nothing_is_left_lying_by_two_who_drive() {
        holds("one producer, two drivers", Preemptions(3), || nothing_is_left_lying(2, Sleeping::ArmsThenRests));
    }

    #[test]
    fn control_ways_to_oversleep() {
        for sleeping in [Sleeping::WithoutArming, Sleeping::RestsThenArms, Sleeping::Forgetful] {
            fails(&format!("{sleeping:?}"), All, None, move || nothing_is_left_lying(1, sleeping));
        }
    }

    #[test]
    fn control_without_a_barrier() {
        for weak in [Weak::Light, Weak::Heavy] {
            fails("a crew without a barrier", All, Some(weak), || nothing_is_left_lying(1, Sleeping::ArmsThenRests));
        }
    }

    #[test]
    fn who_wakes_a_project_is_heard_by_its_driver() {
        holds("one waker", All, || who_wakes_hands_over(1));
        holds("two wakers", All, || who_wakes_hands_over(2));
    }

    #[test]
    fn a_project_that_is_given_up_has_one_heir() {
        holds("one heir", All, || one_heir(GivingUp::AtOnce));
    }

    #[test]
    fn control_looking_before_giving_up() {
        fails("two heirs or none", All, None, || one_heir(GivingUp::LooksFirst));
    }

    #[test]
    fn a_turn_is_ended_or_called_stuck() {
        holds("one verdict", All, || one_verdict(Verdict::AtOnce));
    }

    #[test]
    fn control_a_verdict_without_a_step() {
        fails("a verdict by a look", All, None, || one_verdict(Verdict::LooksOnly));
    }
}
